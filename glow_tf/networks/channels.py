"""Interleaved pairs of channels."""

import tensorflow as tf


def even_and_odd(h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns h[..., 0::2] and h[..., 1::2] of [B, ..., C], C even: shifts and log-scales in the official code.

    TensorFlow computes such slices and their gradients element by element; unstacking takes a quarter of the time.
    """
    even, odd = tf.unstack(tf.reshape(h, [-1, *h.shape[1:-1], h.shape[-1] // 2, 2]), axis=-1)
    return even, odd


def interleaved(even: tf.Tensor, odd: tf.Tensor) -> tf.Tensor:
    """Returns the tensor [B, ..., C] that `even_and_odd` splits into these halves."""
    return tf.reshape(tf.stack([even, odd], axis=-1), [-1, *even.shape[1:-1], 2 * even.shape[-1]])
