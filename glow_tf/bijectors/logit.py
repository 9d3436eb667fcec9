"""Logit preprocessing of RealNVP."""

import math

import tensorflow as tf

from glow_tf.bijectors import base


class Logit(base.Bijector):
    """Maps pixels from [-1/2, 1/2] to the real line.

      p = alpha + (1 - 2 alpha) (x + 1/2)

      forward:          y = log(p) - log(1 - p)
      forward log-det:  sum(log(1 - 2 alpha) - log(p) - log(1 - p))
      inverse:          x = (sigmoid(y) - alpha) / (1 - 2 alpha) - 1/2
      inverse log-det:  sum(log sigmoid(y) + log sigmoid(-y) - log(1 - 2 alpha))

    Args:
      alpha: distance of black and white from the ends of the unit interval, which keeps their logits finite.
      event_ndims: rank of an event.

    Dinh et al. 2017, section 4.1.
    """

    def __init__(self, alpha: float = 0.05, *, event_ndims: int = 3, validate_args: bool = False, name: str = "logit"):
        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha={alpha!r} must lie strictly between 0 and 0.5.")
        self._alpha = alpha
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        p = self._probability(x)
        y = tf.math.log(p) - tf.math.log1p(-p)
        return y, -self._inverse_log_det(y)

    def in_domain(self, x: tf.Tensor) -> tf.Tensor:
        """Returns whether every pixel of `x`: [..., *event] has 0 < p < 1, as bool [...]; NaN counts as inside."""
        p = self._probability(x)
        return ~tf.reduce_any((p <= 0) | (p >= 1), axis=list(range(-self.forward_min_event_ndims, 0)))

    def inverse_and_log_det(self, y):
        x = (tf.sigmoid(y) - self._alpha) / (1 - 2 * self._alpha) - 0.5
        return x, self._inverse_log_det(y)

    def _probability(self, x):
        return self._alpha + (1 - 2 * self._alpha) * (x + 0.5)

    def _inverse_log_det(self, y):
        log_slope = tf.math.log_sigmoid(y) + tf.math.log_sigmoid(-y) - math.log(1 - 2 * self._alpha)
        return base.sum_event(log_slope)
