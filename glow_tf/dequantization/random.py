"""Stateless random numbers for a batch, from one seed or from a seed per example."""

import functools
from collections.abc import Callable

import tensorflow as tf

# Gives the same bits on every device, and when compiled by XLA.
_ALGORITHM = "philox"


def uniform_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns uniform random numbers in [0, 1).

    Args:
      x: [B, ...], a tensor with the shape and dtype of the result.
      seed: [2], a stateless seed; or [B, 2], one per example, whose numbers then depend on its own seed alone.
    """
    if x.dtype != tf.float32:
        return _drawn(functools.partial(tf.random.stateless_uniform, minval=0, maxval=1, dtype=x.dtype), x, seed)
    # Converts random bits to floats as TensorFlow does; XLA would use others of the same bits.
    draw = functools.partial(tf.random.stateless_uniform, minval=None, maxval=None, dtype=tf.int32)
    mantissa = tf.bitwise.bitwise_and(_drawn(draw, x, seed, tf.int32), 0x7FFFFF)
    return tf.bitcast(tf.bitwise.bitwise_or(mantissa, 0x3F800000), tf.float32) - 1


def normal_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns standard normal random numbers; the arguments are as for `uniform_like`."""
    return tf.math.ndtri(_within_0_and_1(x, seed))


def logistic_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns standard logistic random numbers; the arguments are as for `uniform_like`."""
    u = _within_0_and_1(x, seed)
    return tf.math.log(u) - tf.math.log1p(-u)


def _within_0_and_1(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    # Shifted off the grid of `uniform_like`, which includes 0, whose quantile is infinite.
    half = 2.0**-24 if x.dtype == tf.float32 else 2.0**-53
    return uniform_like(x, seed) + half


def seeds_of(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns a seed for each image, [B, 2] int32, that depends on `seed`: [2] and on the image alone.

    Results for an image are then the same in any batch: together with images that happen to be requested at the same
    time, or by itself. The seed is a sum of the pixels (for floats, of their bits as float32) times random numbers,
    modulo 2^32 (Carter & Wegman 1979, "Universal classes of hash functions").
    """
    if images.dtype.is_floating:
        values = tf.bitcast(tf.cast(images, tf.float32), tf.int32)
    else:
        values = tf.cast(images, tf.int32)
    shape = tf.shape(values)
    values = tf.reshape(values + 1, [shape[0], -1, 1])
    factors = tf.random.stateless_uniform([tf.reduce_prod(shape[1:]), 2], seed, None, None, tf.int32)
    return tf.reduce_sum(values * factors, axis=1)


def _drawn(draw: Callable[..., tf.Tensor], x: tf.Tensor, seed: tf.Tensor, dtype: tf.DType | None = None) -> tf.Tensor:
    draw = functools.partial(draw, alg=_ALGORITHM)
    if seed.shape.rank == 1:
        return draw(tf.shape(x), seed)
    shape, signature = tf.shape(x)[1:], tf.TensorSpec(x.shape[1:], dtype or x.dtype)
    return tf.map_fn(lambda one: draw(shape, one), seed, fn_output_signature=signature)
