"""Space to channels."""

import tensorflow as tf

from glow_tf.bijectors import base


class Squeeze(base.Bijector):
    """Converts space to channels: `factor` x `factor` positions with C channels become one with factor^2 C channels.

      forward:          y[h, w, c * f^2 + dy * f + dx] = x[h * f + dy, w * f + dx, c],  f = factor
      inverse:          x[h * f + dy, w * f + dx, c] = y[h, w, c * f^2 + dy * f + dx]
      both log-dets:    0

    The order of channels is that of the official code: the positions of one colour are adjacent.

    Args:
      factor: side of the square.

    Raises:
      ValueError: on use, if a side of the image is not a multiple of `factor`.

    Kingma & Dhariwal 2018, section 3.6; Dinh et al. 2017, section 3.6.
    """

    def __init__(self, factor: int = 2, *, validate_args: bool = False, name: str = "squeeze"):
        if factor < 1:
            raise ValueError(f"factor={factor!r} must be at least 1.")
        self._factor = factor
        super().__init__(event_ndims=3, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        f = self._factor
        height, width, channels = x.shape[1:]
        if height % f or width % f:
            raise ValueError(f"Sides of {height}x{width} are not multiples of {f}.")
        y = tf.reshape(x, [-1, height // f, f, width // f, f, channels])
        y = tf.transpose(y, [0, 1, 3, 5, 2, 4])
        y = tf.reshape(y, [-1, height // f, width // f, channels * f * f])
        return y, tf.zeros(tf.shape(x)[:1], x.dtype)

    def inverse_and_log_det(self, y):
        f = self._factor
        height, width, channels = y.shape[1:]
        if channels % (f * f):
            raise ValueError(f"{channels} channels are not a multiple of {f * f}.")
        x = tf.reshape(y, [-1, height, width, channels // (f * f), f, f])
        x = tf.transpose(x, [0, 1, 4, 2, 5, 3])
        x = tf.reshape(x, [-1, height * f, width * f, channels // (f * f)])
        return x, tf.zeros(tf.shape(y)[:1], y.dtype)

    def _forward_event_shape(self, shape):
        f = self._factor
        return shape[:-3].concatenate([shape[-3] // f, shape[-2] // f, shape[-1] * f * f])

    def _inverse_event_shape(self, shape):
        f = self._factor
        return shape[:-3].concatenate([shape[-3] * f, shape[-2] * f, shape[-1] // (f * f)])

    def _forward_event_shape_tensor(self, shape):
        f = self._factor
        return tf.concat([shape[:-3], [shape[-3] // f, shape[-2] // f, shape[-1] * f * f]], axis=0)

    def _inverse_event_shape_tensor(self, shape):
        f = self._factor
        return tf.concat([shape[:-3], [shape[-3] * f, shape[-2] * f, shape[-1] // (f * f)]], axis=0)
