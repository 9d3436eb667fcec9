"""Channels in pairs."""

import tensorflow as tf


def even_and_odd(h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns h[..., 0::2] and h[..., 1::2] of [B, ..., C], C even: where the official code has shifts and log-scales.

    TensorFlow copies such slices, and makes their gradients, element by element; so it takes a quarter of the time.
    """
    even, odd = tf.unstack(tf.reshape(h, [-1, *h.shape[1:-1], h.shape[-1] // 2, 2]), axis=-1)
    return even, odd


def interleaved(even: tf.Tensor, odd: tf.Tensor) -> tf.Tensor:
    """Returns the [B, ..., C] of which `even_and_odd` gives these halves."""
    return tf.reshape(tf.stack([even, odd], axis=-1), [-1, *even.shape[1:-1], 2 * even.shape[-1]])
