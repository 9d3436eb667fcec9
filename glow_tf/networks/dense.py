"""Dense layers over the channels."""

from collections.abc import Mapping

import tensorflow as tf

from glow_tf.runtime import products


def dense(layer: Mapping[str, tf.Tensor], x: tf.Tensor, precision: str) -> tf.Tensor:
    """Multiplies the last axis of `x`: [B, ..., C_in] by the layer's `kernel` and adds its `bias`: [B, ..., C_out]."""
    flat = products.matmul(tf.reshape(x, [-1, x.shape[-1]]), layer["kernel"], precision) + layer["bias"]
    return tf.reshape(flat, [-1, *x.shape[1:-1], flat.shape[-1]])
