"""Glow's transform."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from glow_tf.transforms.base import Transform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Affine(Transform):
    """A shift, and a scale between 0 and 1 (Kingma & Dhariwal 2018, section 3.3 and the official code).

    h = (t, s)

    forward:          y = (x + t) * sigmoid(s + 2)
    forward log-det:  log sigmoid(s + 2)
    inverse:          x = y / sigmoid(s + 2) - t
    inverse log-det:  -log sigmoid(s + 2)

    In float32, the scale is 0 where s is below about -90. There the log-det and its gradient, which leads out of this
    range, remain finite, but the inverse is not.
    """

    parameters_per_dim: ClassVar[int] = 2

    def forward(self, x, h):
        shift, s = _shift_and_logit(h)
        return (x + shift) * tf.sigmoid(s), tf.math.log_sigmoid(s)

    def inverse(self, y, h):
        shift, s = _shift_and_logit(h)
        return y / tf.sigmoid(s) - shift, -tf.math.log_sigmoid(s)

    def vjp(self, x, y, h, dy, dlog_det):
        _, s = _shift_and_logit(h)
        dx = dy * tf.sigmoid(s)
        # d log sigmoid(s) / ds = sigmoid(-s), so dy/ds = y sigmoid(-s).
        ds = (dy * y + dlog_det) * tf.sigmoid(-s)
        return dx, tf.stack([dx, ds], axis=-1)


def _shift_and_logit(h):
    # Indexing copies slices and computes their gradients element by element; unstacking takes a quarter of the time.
    shift, s = tf.unstack(h, axis=-1)
    return shift, s + 2
