"""NICE's transform."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from glow_tf.transforms.base import Transform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Additive(Transform):
    """A shift (Dinh et al. 2015, section 3.2).

    forward:          y = x + h
    forward log-det:  0
    inverse:          x = y - h
    inverse log-det:  0

    Examples:
      >>> transform = glow_tf.transforms.Additive()
      >>> x, h = tf.constant([1.0, 2.0]), tf.constant([[0.5], [-0.5]])
      >>> y, _ = transform.forward(x, h)
      >>> y.numpy()
      array([1.5, 1.5], dtype=float32)
      >>> transform.inverse(y, h)[0].numpy()
      array([1., 2.], dtype=float32)
    """

    parameters_per_dim: ClassVar[int] = 1

    def forward(self, x, h):
        return x + tf.squeeze(h, -1), None

    def inverse(self, y, h):
        return y - tf.squeeze(h, -1), None

    def vjp(self, x, y, h, dy, dlog_det):
        return dy, dy[..., tf.newaxis]
