"""Stateless random numbers of a batch: by one seed, or by a seed for each example."""

import functools
from collections.abc import Callable

import tensorflow as tf

# The same bits on every device, and compiled by XLA.
_ALGORITHM = "philox"


def uniform_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns random numbers that are uniform in [0, 1).

    Args:
      x: [B, ...], a tensor of the shape and dtype of the result.
      seed: [2], a stateless seed; or [B, 2], one for each example, whose numbers then depend on it alone.
    """
    if x.dtype != tf.float32:
        return _drawn(functools.partial(tf.random.stateless_uniform, minval=0, maxval=1, dtype=x.dtype), x, seed)
    # As TensorFlow makes floats of random bits. XLA, for the same bits, takes others of them.
    draw = functools.partial(tf.random.stateless_uniform, minval=None, maxval=None, dtype=tf.int32)
    mantissa = tf.bitwise.bitwise_and(_drawn(draw, x, seed, tf.int32), 0x7FFFFF)
    return tf.bitcast(tf.bitwise.bitwise_or(mantissa, 0x3F800000), tf.float32) - 1


def normal_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns random numbers of the standard normal distribution; the arguments are as for `uniform_like`."""
    return tf.math.ndtri(_within_0_and_1(x, seed))


def logistic_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns random numbers of the standard logistic distribution; the arguments are as for `uniform_like`."""
    u = _within_0_and_1(x, seed)
    return tf.math.log(u) - tf.math.log1p(-u)


def _within_0_and_1(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    # Between the numbers that `uniform_like` gives, of which 0 has no quantile.
    half = 2.0**-24 if x.dtype == tf.float32 else 2.0**-54
    return uniform_like(x, seed) + half


def seeds_of(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns a seed for each image, [B, 2] int32, that depends on `seed`: [2] and on the image alone.

    What is found of an image with it is then the same in any batch: with others that happen to be asked for at the same
    time, or by itself. It is a sum of the pixels, of floats their bits as float32, times random numbers modulo 2^32
    (Carter & Wegman 1979, "Universal classes of hash functions").
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
