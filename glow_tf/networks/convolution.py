"""Convolutions of the coupling networks, for images [B, H, W, C] and sequences [B, T, C]."""

import math
from collections.abc import Callable

import tensorflow as tf

from glow_tf.runtime import devices, products

# Number of output channels from which a product with image patches is faster than a convolution on a CPU: with 512, it
# saves 1 to 5 % of the total time on 32x32 images and 2 to 6 % on 256x256; with 256 or fewer, it is not faster.
_CHANNELS_FOR_PATCHES = 512
# Assumed size of a batch of unknown size: of 1, 4 and 8, the best choice for batches of 1 to 64.
_FEW_IMAGES = 8


def convolve(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor | None = None,
    activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    *,
    precision: str = "float32",
) -> tf.Tensor:
    """Convolves with stride 1 and zero padding, which preserves the size of the image or the length of the sequence.

    A kernel with one more input channel than `x` is also applied to an indicator of the padding, 1 outside the image
    and 0 inside, which lets a network tell the border from a black image (the official code).

    Args:
      x: [B, H, W, C_in], or [B, T, C_in].
      kernel: [h, w, C_in, C_out] or [h, w, C_in + 1, C_out], h and w odd; for sequences, without the first axis.
      bias: [C_out], or None.
      activation: an elementwise function. TensorFlow fuses a convolution, bias and ReLU that directly follow each other
        into one op, which writes a single tensor.
      precision: precision of the products, see `glow_tf.runtime.products`.

    Returns:
      [B, H, W, C_out], or [B, T, C_out].

    Raises:
      ValueError: if the number of axes or input channels of the kernel does not match `x`.
    """
    if x.shape.rank != kernel.shape.rank:
        raise ValueError(f"A kernel of shape {kernel.shape} does not fit an input of shape {x.shape}.")
    if x.shape.rank == 3:
        # As an image of one row, which is also how TensorFlow implements 1D convolutions.
        image, row = tf.expand_dims(x, 1), tf.expand_dims(kernel, 0)
        return tf.squeeze(convolve(image, row, bias, activation, precision=precision), 1)
    channels = x.shape[-1]
    size, inputs, outputs = tuple(kernel.shape[:2]), kernel.shape[2], kernel.shape[3]
    if inputs not in (channels, channels + 1):
        raise ValueError(f"A kernel of shape {kernel.shape} does not fit an input of shape {x.shape}.")
    if size == (1, 1) and inputs == channels:
        flat = products.matmul(tf.reshape(x, [-1, channels]), tf.reshape(kernel, [channels, outputs]), precision)
        return tf.reshape(activation(_biased(flat, bias)), [-1, *x.shape[1:-1], outputs])
    if inputs == channels:
        return activation(_biased(products.conv2d(x, kernel, "SAME", precision), bias))
    if _multiplies_patches(x, outputs):
        patches = _patches(_with_indicator(x, size), size, x.shape[1:3])
        flat = products.matmul(patches, tf.reshape(kernel, [-1, outputs]), precision)
        return tf.reshape(activation(_biased(flat, bias)), [-1, *x.shape[1:3], outputs])
    if channels <= outputs:
        return activation(_biased(products.conv2d(_with_indicator(x, size), kernel, "VALID", precision), bias))
    # The indicator's contribution, the same for every image, is added on the smaller side, here the output.
    kernel, indicator_kernel = tf.split(kernel, [channels, 1], axis=2)
    constant = border_response(indicator_kernel, x.shape[1], x.shape[2], precision=precision)
    constant = constant if bias is None else constant + bias
    return activation(products.conv2d(x, kernel, "SAME", precision) + constant)


def check_positions(shape: tuple[int, ...], reason: str = "") -> None:
    """Checks that a shape is [H, W, C] or [T, C], as convolutions require.

    Raises:
      ValueError: if it is not; the message starts with the reason, and the caller prepends the name of the layer.
    """
    if len(shape) not in (2, 3):
        raise ValueError(f"{reason}needs (H, W, C) or (T, C); it gets {shape}.")


def kernel_size(shape: tuple[int, ...], side: int) -> tuple[int, ...]:
    """Returns the size of a square kernel for events of a shape: (side, side) for [H, W, C], (side,) for [T, C]."""
    return (side,) * (len(shape) - 1)


def at_every_position(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Returns `values`: [n, C] as [n, 1, ..., 1, C], which broadcasts against tensors [n, ..., C] of the given rank."""
    return tf.reshape(values, [-1, *[1] * (rank - 2), values.shape[-1]])


def positions(x: tf.Tensor) -> int:
    """Returns the number of positions of `x`: B * H * W for [B, H, W, C], or B * T for [B, T, C].

    It serves to choose the fastest implementation: a batch of unknown size, as in a SavedModel, counts as a few images.
    """
    return (x.shape[0] or _FEW_IMAGES) * math.prod(x.shape[1:-1])


def border_response(kernel: tf.Tensor, *sides: int, precision: str = "float32") -> tf.Tensor:
    """Returns the convolution of the padding indicator, which is the same for every image and so computed only once.

    Args:
      kernel: [h, w, 1, C_out], or [k, 1, C_out].
      *sides: H and W of the image, or the length T.
      precision: as for `convolve`.

    Returns:
      [1, H, W, C_out], or [1, T, C_out].
    """
    if len(sides) == 1:
        return tf.squeeze(border_response(tf.expand_dims(kernel, 0), 1, *sides, precision=precision), 1)
    empty = tf.zeros([1, *sides, 0], kernel.dtype)
    indicator = _with_indicator(empty, tuple(kernel.shape[:2]))
    return products.conv2d(indicator, kernel, "VALID", precision)


def _with_indicator(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns `x` padded for a kernel of `size`, with an indicator of the padding as its last channel."""
    padding = [[0, 0], *([n // 2, n // 2] for n in size), [0, 0]]
    indicator = tf.pad(tf.zeros([1, *x.shape[1:3], 1], x.dtype), padding, constant_values=1)
    x = tf.pad(x, padding)
    return tf.concat([x, tf.repeat(indicator, tf.shape(x)[0], axis=0)], axis=-1)


def _patches(padded: tf.Tensor, size: tuple[int, int], positions: tuple[int, int]) -> tf.Tensor:
    """Returns the patch of `padded`: [B, h, w, C] at each position of a kernel: [B * H * W, prod(size) * C]."""
    (rows, columns), (height, width) = size, positions
    # First the columns of the kernel, then its rows, whose slices are longer. Not by indexing: its gradient takes about
    # as long as the product with the patches, and that of `tf.slice` a fifth.
    across = [tf.slice(padded, [0, 0, j, 0], [-1, -1, width, -1]) for j in range(columns)]
    across = tf.concat(across, axis=-1)
    patches = tf.concat([tf.slice(across, [0, i, 0, 0], [-1, height, -1, -1]) for i in range(rows)], axis=-1)
    return tf.reshape(patches, [-1, rows * columns * padded.shape[-1]])


def _multiplies_patches(x: tf.Tensor, outputs: int) -> bool:
    """Returns whether a product with patches of `x` is faster than a convolution."""
    if devices.target() != "CPU":
        return False
    if x.shape[-1] <= outputs:
        return outputs >= _CHANNELS_FOR_PATCHES
    # The patches then have no more elements than the kernel, which a convolution copies.
    return positions(x) <= outputs


def _biased(y: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    return y if bias is None else tf.nn.bias_add(y, bias)
