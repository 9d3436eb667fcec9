"""The final scaling of NICE."""

import dataclasses

import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors, parameters
from glow_tf.layers.base import Layer
from glow_tf.networks import actnorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale(Layer):
    """One learned positive factor a dimension (Dinh et al. 2015, section 3.3).

    The data-dependent initialisation gives its output a second moment of 1 in each dimension.
    """

    def parameters(self, shape, rng):
        return {"log_scale": parameters.zeros(*shape)}

    def bijector(self, shape, tensors, context=None):
        scale = tfp.bijectors.Scale(log_scale=tf.convert_to_tensor(tensors["log_scale"]))
        return bijectors.Adapter(scale, event_ndims=len(shape))

    def initialize(self, shape, tensors, x, context=None):
        # It has no bias, hence the second moment in place of the variance.
        log_scale = -0.5 * tf.math.log(tf.maximum(tf.reduce_mean(x**2, axis=0), actnorm.MIN_STDDEV**2))
        values = {"log_scale": log_scale}
        y, _ = self.bijector(shape, values).forward_and_log_det(x)
        return values, y
