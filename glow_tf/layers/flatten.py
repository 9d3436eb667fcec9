"""Flattening of images and sequences."""

import dataclasses
import math

import tensorflow_probability as tfp

from glow_tf.layers.base import Layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """Flattens [H, W, C] to [H * W * C], and [T, C] to [T * C]."""

    def output_shape(self, shape):
        return (math.prod(shape),)

    def bijector(self, shape, tensors, context=None):
        return tfp.bijectors.Reshape(event_shape_in=shape, event_shape_out=[math.prod(shape)])
