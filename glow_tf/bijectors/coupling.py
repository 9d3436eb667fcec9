"""Coupling layers (Dinh et al. 2015, section 3.2; Dinh et al. 2017, 3.2; Kingma & Dhariwal 2018, 3.3)."""

from collections.abc import Callable

import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.partitions import Channels, Partition
from glow_tf.transforms import Affine, Transform

Conditioner = Callable[[tf.Tensor], tf.Tensor]


class Coupling(base.Bijector):
    """Transforms one part of the input elementwise, with parameters that a network computes from the other part.

      x1, x2 = partition(x),  h = conditioner(x1)

      forward:          y1 = x1,  y2 = transform(x2; h)
      forward log-det:  sum of the elementwise log-dets of the transform
      inverse:          x1 = y1,  x2 = transform^-1(y2; h)
      inverse log-det:  sum of the elementwise log-dets of the inverse transform

    Args:
      conditioner: a pure function that maps x1: [B, ..., C_1] to [B, ..., C_2 * P], where P is the number of parameters
        per element of x2: [B, ..., C_2]; the parameters of a channel are adjacent.
      transform: elementwise map; by default Glow's `Affine`.
      partition: division of the input; by default into halves of the channels.
      swap: which of the partition's ways of dividing the input to use, an int or an int32 scalar tensor; for most
        partitions, 1 exchanges the roles of the parts.
      event_ndims: rank of an event; 3 for [H, W, C], 2 for [T, C], 1 for [D].
    """

    def __init__(
        self,
        conditioner: Conditioner,
        *,
        transform: Transform | None = None,
        partition: Partition | None = None,
        swap: int | tf.Tensor = 0,
        event_ndims: int = 3,
        validate_args: bool = False,
        name: str = "coupling",
    ):
        for argument, value, kind in (("transform", transform, Transform), ("partition", partition, Partition)):
            if not isinstance(value, kind | None):
                raise ValueError(f"{argument}={value!r} is not a {kind.__name__}.")
        self._conditioner = conditioner
        self._transform = Affine() if transform is None else transform
        self._partition = Channels() if partition is None else partition
        self._swap = swap
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        x1, x2 = self._divide(x)
        h = self._per_element(self._conditioner(x1), x2)
        return self._transformed(self._transform.forward, x, x1, x2, h)

    def inverse_and_log_det(self, y):
        y1, y2 = self._divide(y)
        h = self._per_element(self._conditioner(y1), y2)
        return self._transformed(self._transform.inverse, y, y1, y2, h)

    def inverse_and_vjp(self, y, dy, dlog_det, sources):
        # The network's input passes through unchanged, so one evaluation serves both the inverse and the gradient.
        y1, y2 = self._divide(y)
        dy1, dy2 = self._divide(dy)
        mask = self._partition.mask(y, self._swap)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([y1, *sources])
            h = self._per_element(self._conditioner(y1), y2)
        x2 = _masked(self._transform.inverse(y2, h)[0], mask)
        dlog_det = base.per_event(dlog_det, y2)
        dx2, dh = self._transform.vjp(x2, y2, h, dy2, dlog_det if mask is None else dlog_det * mask)
        dx1, *dsources = tape.gradient(h, [y1, *sources], output_gradients=dh)
        dx1 = tf.zeros_like(y1) if dx1 is None else _masked(dx1, None if mask is None else 1 - mask)
        merge = self._partition.merge
        return merge(y1, x2, self._swap), merge(dx1 + dy1, _masked(dx2, mask), self._swap), dsources

    def _divide(self, x):
        try:
            self._partition.check(tuple(x.shape[1:]))
        except ValueError as error:
            raise ValueError(f"{self.name} {error}") from error
        return self._partition.divide(x, self._swap)

    def _per_element(self, h, x2):
        """Reshapes `h`: [B, ..., C_2 * P] to [B, ..., C_2, P]."""
        channels, count = x2.shape[-1], self._transform.parameters_per_dim
        if h.shape[-1] != channels * count:
            raise ValueError(
                f"{type(self._transform).__name__} takes {count} parameters for each of {channels} channels: the "
                f"network must give {channels * count} channels, and not {h.shape[-1]}."
            )
        return tf.reshape(h, [-1, *h.shape[1:-1], channels, count])

    def _transformed(self, direction, x, x1, x2, h):
        mask = self._partition.mask(x, self._swap)
        y2, log_det = direction(x2, h)
        y = self._partition.merge(x1, _masked(y2, mask), self._swap)
        if log_det is None:
            return y, tf.zeros(tf.shape(x)[:1], x.dtype)
        return y, base.sum_event(_masked(log_det, mask))


def _masked(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Sets `x` to zero where the mask is 0, even if it is NaN there."""
    return x if mask is None else tf.where(mask > 0, x, tf.zeros([], x.dtype))
