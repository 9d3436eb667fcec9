"""Jet's transform."""

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from glow_tf.transforms.base import Transform


@dataclasses.dataclass(frozen=True, kw_only=True)
class AffineSigmoid(Transform):
    """A shift, and a scale between 0 and `factor` (Kolesnikov et al. 2024, section 2, "Jet").

    h = (t, s)

    forward:          y = (x + t) * factor * sigmoid(s)
    forward log-det:  log(factor) + log sigmoid(s)
    inverse:          x = y / (factor * sigmoid(s)) - t
    inverse log-det:  -log(factor) - log sigmoid(s)

    In float32, the scale is 0 where s is below about -88, as for `Affine`.

    Attributes:
      factor: upper bound on the scale, positive. With 2, the transform is the identity at h = 0.
    """

    parameters_per_dim: ClassVar[int] = 2

    factor: float = 2.0

    def __post_init__(self):
        if not 0 < self.factor < math.inf:
            raise ValueError(f"factor={self.factor!r} must be positive.")

    def forward(self, x, h):
        shift, s = tf.unstack(h, axis=-1)
        return (x + shift) * self._scale(s), self._log_scale(s)

    def inverse(self, y, h):
        shift, s = tf.unstack(h, axis=-1)
        return y / self._scale(s) - shift, -self._log_scale(s)

    def vjp(self, x, y, h, dy, dlog_det):
        _, s = tf.unstack(h, axis=-1)
        dx = dy * self._scale(s)
        # d log sigmoid(s) / ds = sigmoid(-s), so dy/ds = y sigmoid(-s).
        ds = (dy * y + dlog_det) * tf.sigmoid(-s)
        return dx, tf.stack([dx, ds], axis=-1)

    def _scale(self, s):
        return self.factor * tf.sigmoid(s)

    def _log_scale(self, s):
        return math.log(self.factor) + tf.math.log_sigmoid(s)
