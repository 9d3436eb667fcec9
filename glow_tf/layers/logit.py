"""The logit preprocessing of RealNVP."""

import dataclasses

from glow_tf import bijectors
from glow_tf.layers.base import Layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Logit(Layer):
    """Maps x in [-1/2, 1/2] to logit(alpha + (1 - 2 alpha) (x + 1/2)) (Dinh et al. 2017, section 4.1)."""

    alpha: float = 0.05

    def __post_init__(self):
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha={self.alpha!r} must lie strictly between 0 and 0.5.")

    def bijector(self, shape, tensors, context=None):
        return bijectors.Logit(self.alpha, event_ndims=len(shape))

    def in_domain(self, shape, x):
        return self.bijector(shape, {}).in_domain(x)
