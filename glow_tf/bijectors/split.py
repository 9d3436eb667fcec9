"""Factoring out half of the variables with a learned prior."""

from collections.abc import Callable

import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.networks.channels import even_and_odd


class Split(base.Bijector):
    """Whitens the second half of the channels by a Gaussian whose parameters a network computes from the first half.

      h = prior(x1),  mean = h[..., 0::2],  log_stddev = h[..., 1::2]

      forward:          y1 = x1,  y2 = (x2 - mean) * exp(-log_stddev)
      forward log-det:  -sum(log_stddev)
      inverse:          x1 = y1,  x2 = y2 * exp(log_stddev) + mean
      inverse log-det:  sum(log_stddev)

    so that y2 is standard normal if x2 follows the prior. The multi-scale flow then factors y2 out.

    Args:
      prior: maps x1: [B, ..., C/2] to h: [B, ..., C]; None leaves x2 unchanged, for a standard normal prior.
      event_ndims: rank of an event; 3 for [H, W, C], 2 for [T, C].

    Kingma & Dhariwal 2018, figure 2, and the official code; Dinh et al. 2017, section 3.6.
    """

    def __init__(
        self,
        prior: Callable[[tf.Tensor], tf.Tensor] | None,
        *,
        event_ndims: int = 3,
        validate_args: bool = False,
        name: str = "split",
    ):
        self._prior = prior
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        if self._prior is None:
            return x, tf.zeros(tf.shape(x)[:1], x.dtype)
        x1, x2 = tf.split(x, 2, axis=-1)
        mean, log_stddev = self._parameters_of(x1)
        return tf.concat([x1, (x2 - mean) * tf.exp(-log_stddev)], axis=-1), -base.sum_event(log_stddev)

    def inverse_and_log_det(self, y):
        if self._prior is None:
            return y, tf.zeros(tf.shape(y)[:1], y.dtype)
        y1, y2 = tf.split(y, 2, axis=-1)
        mean, log_stddev = self._parameters_of(y1)
        return tf.concat([y1, y2 * tf.exp(log_stddev) + mean], axis=-1), base.sum_event(log_stddev)

    def _parameters_of(self, x1):
        return even_and_odd(self._prior(x1))
