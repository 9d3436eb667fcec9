"""Squeezing of space or time into channels."""

import tensorflow as tf

from glow_tf.arguments import one_of
from glow_tf.bijectors import base
from glow_tf.runtime.squeezing import squeeze, unsqueeze

ORDERS = ("channel_major", "position_major")


class Squeeze(base.Bijector):
    """Converts space to channels: `factor` x `factor` positions with C channels become one with factor^2 C channels.

      forward:          y[h, w, c * f^2 + dy * f + dx] = x[h * f + dy, w * f + dx, c],  f = factor
      for sequences:    y[t, c * f + dt] = x[t * f + dt, c]
      inverse:          x[h * f + dy, w * f + dx, c] = y[h, w, c * f^2 + dy * f + dx]
      both log-dets:    0

    This order of the output channels is that of Glow's official code: the positions of one input channel are adjacent.
    In the position-major order, that of `tf.nn.space_to_depth`, the channels of one position are adjacent:

      forward:          y[h, w, (dy * f + dx) * C + c] = x[h * f + dy, w * f + dx, c]
      for sequences:    y[t, dt * C + c] = x[t * f + dt, c]

    Args:
      factor: side of the square of positions, or number of successive positions of a sequence.
      event_ndims: rank of an event; 3 for [H, W, C], 2 for [T, C].
      order: order of the output channels, `channel_major` or `position_major`.

    Raises:
      ValueError: when applied, if a side of the image, or the length of the sequence, is not a multiple of `factor`.

    Kingma & Dhariwal 2018, figure 2; Dinh et al. 2017, section 3.6; for sequences, Prenger et al. 2018.

    Examples:
      >>> y = glow_tf.bijectors.Squeeze().forward(tf.reshape(tf.range(4.0), [1, 2, 2, 1]))
      >>> y.numpy()
      array([[[[0., 1., 2., 3.]]]], dtype=float32)
    """

    def __init__(
        self,
        factor: int = 2,
        *,
        event_ndims: int = 3,
        order: str = "channel_major",
        validate_args: bool = False,
        name: str = "squeeze",
    ):
        if factor < 1:
            raise ValueError(f"factor={factor!r} must be at least 1.")
        if event_ndims not in (2, 3):
            raise ValueError(f"event_ndims={event_ndims!r} must be 3 for [H, W, C], or 2 for [T, C].")
        one_of("order", order, ORDERS)
        self._factor = factor
        self._order = order
        self._axes = event_ndims - 1
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        return squeeze(x, self._factor, self._order), tf.zeros(tf.shape(x)[:1], x.dtype)

    def inverse_and_log_det(self, y):
        return unsqueeze(y, self._factor, self._order), tf.zeros(tf.shape(y)[:1], y.dtype)

    def _forward_event_shape(self, shape):
        leading, event = self._divided(shape)
        return leading.concatenate(self._squeezed(event))

    def _inverse_event_shape(self, shape):
        leading, event = self._divided(shape)
        return leading.concatenate(self._unsqueezed(event))

    def _forward_event_shape_tensor(self, shape):
        leading, event = self._divided(shape)
        return tf.concat([leading, self._squeezed(event)], axis=0)

    def _inverse_event_shape_tensor(self, shape):
        leading, event = self._divided(shape)
        return tf.concat([leading, self._unsqueezed(event)], axis=0)

    def _divided(self, shape):
        """Returns the leading axes of a shape, and the event axes as a list."""
        ndims = self._axes + 1
        return shape[:-ndims], [shape[axis] for axis in range(-ndims, 0)]

    def _squeezed(self, event):
        *sides, channels = event
        return [*(side // self._factor for side in sides), channels * self._factor**self._axes]

    def _unsqueezed(self, event):
        *blocks, channels = event
        return [*(block * self._factor for block in blocks), channels // self._factor**self._axes]
