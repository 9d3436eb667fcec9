"""Conditioning of networks on labels."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from glow_tf.networks.convolution import at_every_position
from glow_tf.runtime.products import matmul


def of_labels(kernel: tf.Tensor, context: Any, x: tf.Tensor) -> tf.Tensor:
    """Returns the row of `kernel` for each example's label, to be added at every position.

    Args:
      kernel: [num_classes, C].
      context: nest with `labels`: [B] int32.
      x: [B, ...], a tensor whose rank and dtype the result has.

    Returns:
      [B, 1, ..., C].

    Raises:
      ValueError: if the context has no labels.
    """
    num_classes = kernel.shape[0]
    if not isinstance(context, Mapping) or "labels" not in context:
        raise ValueError(f"Labels in 0 .. {num_classes - 1}, which condition the coupling networks, are missing.")
    one_hot = tf.one_hot(context["labels"], num_classes, dtype=x.dtype)
    return at_every_position(matmul(one_hot, kernel), x.shape.rank)
