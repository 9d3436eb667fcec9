"""A layer that starts at zero, with a bias and a learned scale (the official code)."""

import tensorflow as tf

from glow_tf import parameters as p
from glow_tf.networks import actnorm, convolution


def parameters(*kernel_shape: int) -> p.Nest:
    """Returns the kernel, [*kernel_shape], the bias and the log-scale, [kernel_shape[-1]], all zero."""
    return {"kernel": p.zeros(*kernel_shape), **p.actnorm(kernel_shape[-1])}


def scale(tensors: p.Nest, h: tf.Tensor) -> tf.Tensor:
    """Returns `h`: [..., C], what the kernel gives, with bias and scale."""
    return actnorm.apply(actnorm.scaled(tensors), h)


def convolve(tensors: p.Nest, x: tf.Tensor) -> tf.Tensor:
    """Returns the convolution of `x`: [B, ..., C_in] with the layer's kernel, bias and scale: [B, ..., C]."""
    return scale(tensors, convolution.convolve(x, tensors["kernel"]))
