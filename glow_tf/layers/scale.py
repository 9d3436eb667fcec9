"""Elementwise scaling: learned, as in the last layer of NICE, or fixed."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors, parameters
from glow_tf.layers.base import Layer
from glow_tf.networks import actnorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale(Layer):
    """Multiplies each dimension by a positive factor (Dinh et al. 2015, section 3.3).

    The data-dependent initialisation sets learned factors so that each output dimension has a second moment of 1.

    Attributes:
      initial: value of the factors before data-dependent initialisation.
      learned: whether the factors are learned; otherwise they keep their initial value.
    """

    initial: float = 1.0
    learned: bool = True

    def __post_init__(self):
        if not 0 < self.initial < math.inf:
            raise ValueError(f"initial={self.initial!r} must be positive.")

    def parameters(self, shape, rng):
        log_scale = parameters.Parameter(shape, lambda: np.full(shape, math.log(self.initial)), self.learned)
        return {"log_scale": log_scale}

    def bijector(self, shape, tensors, context=None):
        scale = tfp.bijectors.Scale(log_scale=tf.convert_to_tensor(tensors["log_scale"]))
        return bijectors.Adapter(scale, event_ndims=len(shape))

    @property
    def is_initialized_from_data(self):
        return self.learned

    def initialize(self, shape, tensors, x, context=None):
        if not self.learned:
            return super().initialize(shape, tensors, x, context)
        # There is no bias, hence the second moment instead of the variance.
        log_scale = -0.5 * tf.math.log(tf.maximum(tf.reduce_mean(x**2, axis=0), actnorm.MIN_STDDEV**2))
        values = {"log_scale": log_scale}
        y, _ = self.bijector(shape, values).forward_and_log_det(x)
        return values, y
