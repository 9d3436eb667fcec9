"""RealNVP's transform."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from glow_tf.transforms.base import Transform


@dataclasses.dataclass(frozen=True, kw_only=True)
class AffineExp(Transform):
    """A scale and a shift (Dinh et al. 2017, section 3.2).

    h = (t, s)

    forward:          y = x * exp(s) + t
    forward log-det:  s
    inverse:          x = (y - t) * exp(-s)
    inverse log-det:  -s
    """

    parameters_per_dim: ClassVar[int] = 2

    def forward(self, x, h):
        shift, log_scale = tf.unstack(h, axis=-1)
        return x * tf.exp(log_scale) + shift, log_scale

    def inverse(self, y, h):
        shift, log_scale = tf.unstack(h, axis=-1)
        return (y - shift) / tf.exp(log_scale), -log_scale

    def vjp(self, x, y, h, dy, dlog_det):
        shift, log_scale = tf.unstack(h, axis=-1)
        dlog_scale = dy * (y - shift) + dlog_det
        return dy * tf.exp(log_scale), tf.stack([dy, dlog_scale], axis=-1)
