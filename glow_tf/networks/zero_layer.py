"""A zero-initialised layer with a bias and a learned scale (the official code)."""

import tensorflow as tf

from glow_tf import parameters as p
from glow_tf.networks import actnorm, convolution


def parameters(*kernel_shape: int) -> p.Nest:
    """Returns the kernel, [*kernel_shape], and the bias and log-scale, [kernel_shape[-1]] each, all zero."""
    return {"kernel": p.zeros(*kernel_shape), **p.actnorm(kernel_shape[-1])}


def scale(tensors: p.Nest, h: tf.Tensor) -> tf.Tensor:
    """Applies the bias and scale to `h`: [..., C], the output of the kernel."""
    return actnorm.apply(actnorm.scaled(tensors), h)


def convolve(tensors: p.Nest, x: tf.Tensor) -> tf.Tensor:
    """Convolves `x`: [B, ..., C_in] with the kernel and applies the bias and scale: [B, ..., C]."""
    return scale(tensors, convolution.convolve(x, tensors["kernel"]))
