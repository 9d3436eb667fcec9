"""Between images of uint8 and the real numbers the flow has a density over.

levels          q = floor(image / 2^(8 - n_bits)), one of 2^n_bits
dequantized     x = q / 2^n_bits - 1/2 + u,  u uniform in [0, 2^-n_bits),  so x lies in [-1/2, 1/2)
bits per dim    (-log p(x) + D log 2^n_bits) / (D log 2), an upper bound of the code length of the discrete image
                in expectation over u (Theis et al. 2016, "A note on the evaluation of generative models")
"""

import functools
import math

import tensorflow as tf


def quantize(images: tf.Tensor, n_bits: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """The lower edge of each pixel's bin: uint8 [..., H, W, C] to floats in [-1/2, 1/2), as in the official code."""
    images = tf.cast(images, dtype)
    if n_bits < 8:
        images = tf.floor(images / values_per_bin(n_bits))
    return images / 2**n_bits - 0.5


def dequantize(images: tf.Tensor, n_bits: int, seed: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Each pixel uniform in its bin.

    Args:
      images: [..., H, W, C] uint8.
      n_bits: bits per channel.
      seed: [2] int32, a stateless seed.
      dtype: of the result.
    """
    return _with_noise(images, n_bits, tf.random.stateless_uniform(tf.shape(images), seed, 0, 1, dtype))


def dequantize_each(images: tf.Tensor, n_bits: int, seed: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Like `dequantize`, with noise that depends on the seed and on each image alone.

    What is found of an image is then the same in any batch: with others that happen to be asked for at the same time,
    or by itself. Each image has its own seed, a sum of its pixels times random numbers modulo 2^32 (Carter & Wegman
    1979, "Universal classes of hash functions").
    """
    shape = tf.shape(images)[1:]
    pixels = tf.reshape(tf.cast(images, tf.int32) + 1, [tf.shape(images)[0], -1, 1])
    factors = tf.random.stateless_uniform([tf.reduce_prod(shape), 2], seed, None, None, tf.int32)
    seeds = tf.reduce_sum(pixels * factors, axis=1)
    draw = functools.partial(tf.random.stateless_uniform, shape, minval=0, maxval=1, dtype=dtype)
    spec = tf.TensorSpec(images.shape[1:], dtype)
    return _with_noise(images, n_bits, tf.map_fn(lambda s: draw(seed=s), seeds, fn_output_signature=spec))


def _with_noise(images: tf.Tensor, n_bits: int, noise: tf.Tensor) -> tf.Tensor:
    # A draw next to 1 would round up into the following bin.
    noise = tf.minimum(noise, 1 - 2.0**-10)
    return quantize(images, n_bits, noise.dtype) + noise / 2**n_bits


def bin_centers(images: tf.Tensor, n_bits: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """The middle of each pixel's bin, the point farthest from being rounded to another level."""
    return quantize(images, n_bits, dtype) + half_bin(n_bits)


def half_bin(n_bits: int) -> float:
    """Half the width of a bin, 2^-(n_bits + 1): a bin's center moved by less stays in the bin."""
    return 0.5 / 2**n_bits


def values_per_bin(n_bits: int) -> int:
    """The number of uint8 values in a bin, 2^(8 - n_bits)."""
    return 2 ** (8 - n_bits)


def to_images(x: tf.Tensor, n_bits: int) -> tf.Tensor:
    """Floats to uint8: floor((x + 1/2) * 2^n_bits) * 2^(8 - n_bits), clipped to [0, 255], as in the official code."""
    levels = tf.floor((x + 0.5) * 2**n_bits)
    return tf.cast(tf.clip_by_value(levels * values_per_bin(n_bits), 0, 255), tf.uint8)


def bits_per_dim(log_prob: tf.Tensor, dimensions: int, n_bits: int) -> tf.Tensor:
    """Bits per dimension of the discrete image, from the log-density, in nats, of the dequantized one."""
    return nats_to_bits_per_dim(log_levels(dimensions, n_bits) - log_prob, dimensions)


def nats_to_bits_per_dim(nats: tf.Tensor, dimensions: int) -> tf.Tensor:
    """A number of nats of a whole image in bits per dimension."""
    return nats / (dimensions * math.log(2))


def log_levels(dimensions: int, n_bits: int) -> float:
    """D log 2^n_bits, in nats: what separates the log-density of a dequantized image from the discrete image's."""
    return dimensions * n_bits * math.log(2)
