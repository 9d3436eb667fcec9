"""Coupling layers (Dinh et al. 2015, section 3.2; Dinh et al. 2017, 3.2; Kingma & Dhariwal 2018, 3.3)."""

from collections.abc import Callable

import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.networks.parameters import even_and_odd, interleaved

Network = Callable[[tf.Tensor], tf.Tensor]


class Coupling(base.Bijector):
    """Transforms one half of the input by an elementwise map whose parameters a network reads off the other half.

      h = network(x1)

      additive     y1 = x1,  y2 = x2 + h                     log-det 0
      affine       y1 = x1,  y2 = (x2 + t) * sigmoid(s + 2)  log-det sum(log sigmoid(s + 2))
      affine_exp   y1 = x1,  y2 = x2 * exp(s) + t            log-det sum(s)

    where t = h[..., 0::2] and s = h[..., 1::2]. `affine` is Glow's, `affine_exp` RealNVP's. The inverse solves for x2.

    The halves are, by `mask`,

      channel       x1 the first C/2 channels, x2 the others; the network maps C/2 channels to C/2 (additive) or C
      checkerboard  x1 the positions with (h + w) even, x2 the others, each with zeros in the other's place; the
                    network maps C channels to C (additive) or 2C. On flat events [D]: the even components and the odd.

    Args:
      network: maps [B, ..., n] to [B, ..., m] as above, a pure function.
      coupling: `additive`, `affine` or `affine_exp`.
      mask: `channel` or `checkerboard`.
      swap: 1 exchanges the roles of the halves; an int or an int32 scalar tensor.
      event_ndims: rank of an event; 3 for [H, W, C], 1 for [D].
    """

    def __init__(
        self,
        network: Network,
        *,
        coupling: str = "affine",
        mask: str = "channel",
        swap: int | tf.Tensor = 0,
        event_ndims: int = 3,
        validate_args: bool = False,
        name: str = "coupling",
    ):
        if coupling not in ("additive", "affine", "affine_exp"):
            raise ValueError(f"coupling={coupling!r} is not 'additive', 'affine' or 'affine_exp'.")
        if mask not in ("channel", "checkerboard"):
            raise ValueError(f"mask={mask!r} is not 'channel' or 'checkerboard'.")
        self._network = network
        self._coupling = coupling
        self._mask = mask
        self._swap = swap
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        x1, x2 = self._halves(x)
        y2, log_det = self._transform(x2, self._network(x1))
        return self._merge(x1, y2), log_det

    def inverse_and_log_det(self, y):
        y1, y2 = self._halves(y)
        x2, log_det = self._transform_back(y2, self._network(y1))
        return self._merge(y1, x2), log_det

    def inverse_and_vjp(self, y, dy, dlog_det, sources):
        # The network's input passes through unchanged, so one evaluation serves both the inverse and the gradient.
        y1, y2 = self._halves(y)
        dy1, dy2 = self._halves(dy)
        with tf.GradientTape(watch_accessed_variables=False) as network_tape:
            network_tape.watch([y1, *sources])
            h = self._network(y1)
        x2, _ = self._transform_back(y2, h)
        dx2, dh = self._transform_vjp(y2, h, dy2, dlog_det)
        dx1, *dsources = network_tape.gradient(h, [y1, *sources], output_gradients=dh)
        if dx1 is None:
            dx1 = tf.zeros_like(y1)
        if self._mask == "checkerboard":
            dx1 *= self._first(dx1)
        return self._merge(y1, x2), self._merge(dx1 + dy1, dx2), dsources

    def _halves(self, x):
        if self._mask == "checkerboard":
            first = self._first(x)
            return x * first, x * (1 - first)
        if x.shape[-1] % 2:
            raise ValueError(f"{self.name} halves the channels and needs an even number of them; it gets {x.shape}.")
        a, b = tf.split(x, 2, axis=-1)
        return self._exchange(a, b)

    def _merge(self, x1, x2):
        if self._mask == "checkerboard":
            return x1 + x2
        return tf.concat(self._exchange(x1, x2), axis=-1)

    def _exchange(self, a, b):
        if tf.is_tensor(self._swap):
            swapped = tf.equal(self._swap, 1)
            return tf.where(swapped, b, a), tf.where(swapped, a, b)
        return (b, a) if self._swap else (a, b)

    def _first(self, x):
        """1 at the positions that condition and 0 at the others, broadcasting against `x`."""
        axes = x.shape[1:-1] if x.shape.rank > 2 else x.shape[1:]
        parity = sum(tf.meshgrid(*(tf.range(n) for n in axes), indexing="ij")) + self._swap
        first = tf.cast(1 - parity % 2, x.dtype)
        return first[..., tf.newaxis] if x.shape.rank > 2 else first

    def _masked(self, h):
        return h * (1 - self._first(h)) if self._mask == "checkerboard" else h

    def _read(self, h):
        """Shift, logarithm of the scale, scale, and the derivative of the logarithm by s."""
        shift, s = even_and_odd(h)
        if self._coupling == "affine":
            s += 2
            log_scale, scale, slope = tf.math.log_sigmoid(s), tf.sigmoid(s), tf.sigmoid(-s)
        else:
            log_scale, scale, slope = s, tf.exp(s), tf.ones_like(s)
        if self._mask == "checkerboard":
            shift, log_scale, slope = (self._masked(part) for part in (shift, log_scale, slope))
            scale = tf.exp(log_scale)
        return shift, log_scale, scale, slope

    def _transform(self, x2, h):
        if self._coupling == "additive":
            return x2 + self._masked(h), tf.zeros(tf.shape(x2)[:1], x2.dtype)
        shift, log_scale, scale, _ = self._read(h)
        y2 = (x2 + shift) * scale if self._coupling == "affine" else x2 * scale + shift
        return y2, base.sum_event(log_scale)

    def _transform_back(self, y2, h):
        if self._coupling == "additive":
            return y2 - self._masked(h), tf.zeros(tf.shape(y2)[:1], y2.dtype)
        shift, log_scale, scale, _ = self._read(h)
        x2 = y2 / scale - shift if self._coupling == "affine" else (y2 - shift) / scale
        return x2, -base.sum_event(log_scale)

    def _transform_vjp(self, y2, h, dy2, dlog_det):
        """The gradients with respect to x2 and h of `_transform`, from what it returned."""
        if self._coupling == "additive":
            return dy2, self._masked(dy2)
        shift, _, scale, slope = self._read(h)
        dx2 = dy2 * scale
        affine = self._coupling == "affine"
        dshift = self._masked(dx2 if affine else dy2)
        dlog_scale = dy2 * (y2 if affine else y2 - shift) + base.per_event(dlog_det, y2)
        return dx2, interleaved(dshift, dlog_scale * slope)
