"""The transform of neural spline flows."""

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.transforms import implicit
from glow_tf.transforms.base import Transform

# Minimum size of a bin, as a fraction of the interval, and minimum slope, as in the paper's code.
_MIN_FRACTION = 1e-3
_MIN_SLOPE = 1e-3
# softplus(_UNIT_SLOPE) + _MIN_SLOPE = 1.
_UNIT_SLOPE = math.log(math.expm1(1 - _MIN_SLOPE))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RationalQuadraticSpline(Transform):
    """A monotonic rational-quadratic spline on [-bound, bound], the identity outside (Durkan et al. 2019, section 3).

    h = (widths_1 .. widths_K, heights_1 .. heights_K, slopes_1 .. slopes_{K-1})

    The widths and heights of K bins are computed by softmax, and the slopes d at the interior knots by softplus; the
    slopes at -bound and bound are 1. In the bin that starts at (x_k, y_k), with width w, height b and s = b / w,

      r = (x - x_k) / w,  D = s + (d_{k+1} + d_k - 2 s) r (1 - r)

    forward:          y = y_k + b (s r^2 + d_k r (1 - r)) / D                                             (equation 4)
    forward log-det:  2 log s + log(d_{k+1} r^2 + 2 s r (1 - r) + d_k (1 - r)^2) - 2 log D                (equation 5)
    inverse:          the root r of a quadratic                                                  (equations 6 to 8)
    inverse log-det:  -(forward log-det)

    Attributes:
      bins: K, at least 2.
      bound: half the length of the interval.
    """

    bins: int = 8
    bound: float = 3.0

    def __post_init__(self):
        # The minimum sizes take up at most half of the interval.
        at_least("bins", self.bins, 2, most=int(0.5 / _MIN_FRACTION))
        if not 0 < self.bound < math.inf:
            raise ValueError(f"bound={self.bound!r} must be a positive number.")

    @property
    def parameters_per_dim(self) -> int:
        return 3 * self.bins - 1

    def forward(self, x, h):
        x_in, is_inside = self._inside(x)
        bin_ = self._bin(x_in, h, by_height=False)
        y, log_slope = bin_.at((x_in - bin_.left) / bin_.width)
        return self._outside(x, is_inside, y), self._outside(tf.zeros_like(x), is_inside, log_slope)

    def inverse(self, y, h):
        y_in, is_inside = self._inside(y)
        bin_ = self._bin(y_in, h, by_height=True)
        x = self._outside(y, is_inside, bin_.left + bin_.width * bin_.solve(y_in))
        x = implicit.with_gradient(self, x, y, h)
        return x, -self.forward(x, h)[1]

    def _inside(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `x` as [N], with 0 outside the interval, and the mask of the elements inside: [N] bool."""
        x = tf.reshape(x, [-1])
        is_inside = tf.abs(x) < self.bound
        return tf.where(is_inside, x, tf.zeros_like(x)), is_inside

    def _outside(self, x: tf.Tensor, is_inside: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Returns `values`: [N] inside the interval and `x` outside, in the shape of `x`."""
        merged = tf.where(is_inside, values, tf.reshape(x, [-1]))
        return tf.ensure_shape(tf.reshape(merged, tf.shape(x)), x.shape)

    def _bin(self, position: tf.Tensor, h: tf.Tensor, *, by_height: bool) -> "_Bin":
        """Returns the bin that contains each position, [N], on the y axis if `by_height`, otherwise on the x axis."""
        sizes = [self.bins, self.bins, self.bins - 1]
        widths, heights, slopes = tf.split(tf.reshape(h, [-1, self.parameters_per_dim]), sizes, axis=-1)
        free = 1 - self.bins * _MIN_FRACTION
        widths, heights = (2 * self.bound * (_MIN_FRACTION + free * tf.nn.softmax(t)) for t in (widths, heights))
        slopes = _MIN_SLOPE + tf.nn.softplus(slopes + _UNIT_SLOPE)
        # Masks rather than gathers: the gradients of gathers are scatters, which are slow on GPUs.
        knots = tf.cumsum(heights if by_height else widths, axis=-1)[:, :-1] - self.bound
        passed = tf.cast(position[:, tf.newaxis] >= knots, h.dtype)
        one = tf.ones_like(passed[:, :1])
        is_bin = tf.concat([one, passed], axis=-1) - tf.concat([passed, tf.zeros_like(one)], axis=-1)

        def total(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(values * mask, axis=-1)

        return _Bin(
            left=total(widths[:, :-1], passed) - self.bound,
            width=total(widths, is_bin),
            bottom=total(heights[:, :-1], passed) - self.bound,
            height=total(heights, is_bin),
            slope=total(tf.concat([one, slopes], axis=-1), is_bin),
            next_slope=total(tf.concat([slopes, one], axis=-1), is_bin),
        )


class _Bin(NamedTuple):
    """The bins of N points, [N] each: the lower left corner, the size, and the slopes at both ends."""

    left: tf.Tensor
    width: tf.Tensor
    bottom: tf.Tensor
    height: tf.Tensor
    slope: tf.Tensor
    next_slope: tf.Tensor

    def at(self, r: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and log(dy/dx) at `r`: [N], the position in the bin as a fraction of its width."""
        rest = 1 - r
        mean = self.height / self.width
        denominator = mean + (self.next_slope + self.slope - 2 * mean) * r * rest
        y = self.bottom + self.height * (mean * r**2 + self.slope * r * rest) / denominator
        numerator = self.next_slope * r**2 + 2 * mean * r * rest + self.slope * rest**2
        return y, 2 * tf.math.log(mean / denominator) + tf.math.log(numerator)

    def solve(self, y: tf.Tensor) -> tf.Tensor:
        """Returns the position r: [N] in the bin, as a fraction of its width, at which the spline is `y`: [N]."""
        part = y - self.bottom
        # Solved from the nearer end, as a root near 1 would be lost to rounding where the slope is small.
        from_end = 2 * part > self.height
        part = tf.where(from_end, self.height - part, part)
        slope = tf.where(from_end, self.next_slope, self.slope)
        mean = self.height / self.width
        bend = part * (self.next_slope + self.slope - 2 * mean)
        b, c = self.height * slope - bend, -mean * part
        # Not `height * (mean - slope) + bend`, which is rounded to values below -b where slopes are far above the mean.
        a = self.height * mean - b
        root = tf.sqrt(tf.maximum(b**2 - 4 * a * c, 0))
        # Of the two forms of the solution, the one whose sum has terms of one sign. As a + b > 0, a > 0 where b < 0.
        is_negative = b < 0
        r = tf.where(is_negative, root - b, 2 * c) / tf.where(is_negative, 2 * a, -b - root)
        return tf.where(from_end, 1 - r, r)
