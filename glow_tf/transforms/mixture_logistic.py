"""Flow++'s transform."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.transforms import implicit
from glow_tf.transforms.base import Transform

# Bound on a component's |log-scale|. The lower limit is the official code's: a component as narrow as a thousandth of
# the activations covers a single grey level. At the upper limit, far tails, of slope 1 / scale, are still invertible.
_MAX_LOG_SCALE = 7.0
# e, a lower bound on v': between narrow components the log-odds are flat, and different x would round to the same y.
_MIN_SLOPE = 1e-3
# The means are initially spread evenly over [-1, 1], as equal components would keep receiving equal gradients. A wider
# spread would be farther from the identity at initialisation.
_SPREAD = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureLogistic(Transform):
    """The log-odds of the CDF of a mixture of K logistics, then a scale and a shift (Ho et al. 2019, section 3.2).

    h = (t, a, pi_1 .. pi_K, mu_1 .. mu_K, log s_1 .. log s_K)

      w = softmax(pi),  z_k = (x - mu_k - m_k) / s_k  with fixed m_k,  F = sum_k w_k sigmoid(z_k)
      v = (1 - e) log(F / (1 - F)) + e x,  v' = (1 - e) F' / (F (1 - F)) + e  with e = 1/1000

    forward:          y = v * exp(tanh a) + t
    forward log-det:  log v' + tanh a
    inverse:          x where v = (y - t) * exp(-tanh a), by Newton's method and bisection
    inverse log-det:  -log v' - tanh a

    The derivative of the log-odds is a sum of positive terms, as 1 / (F (1 - F)) = 1 / F + 1 / (1 - F):

      F' / (F (1 - F)) = sum_k (r_k sigmoid(-z_k) + q_k sigmoid(z_k)) / s_k

    where r_k = w_k sigmoid(z_k) / F and q_k = w_k sigmoid(-z_k) / (1 - F) each sum to 1. The paper has e = 0, and a in
    place of tanh a, which is from the official code.

    Attributes:
      components: K.
    """

    components: int = 8

    def __post_init__(self):
        at_least("components", self.components, 1, most=1000)

    @property
    def parameters_per_dim(self) -> int:
        return 2 + 3 * self.components

    def forward(self, x, h):
        shift, log_scale, mixture = self._split(h)
        found = mixture.at(tf.reshape(x, [-1]))
        return _like(x, found.value * tf.exp(log_scale) + shift), _like(x, tf.math.log(found.slope) + log_scale)

    def inverse(self, y, h):
        implicit.check_dtype(self, y)
        shift, log_scale, mixture = self._split(h)
        x = mixture.solve((tf.reshape(y, [-1]) - shift) * tf.exp(-log_scale))
        x = implicit.with_gradient(self, _like(y, x), y, h)
        return x, -self.forward(x, h)[1]

    def vjp(self, x, y, h, dy, dlog_det):
        shift, log_scale, mixture = self._split(h)
        dlog_det = tf.reshape(tf.broadcast_to(dlog_det, tf.shape(x)), [-1])
        dy = tf.reshape(dy, [-1])
        dlog_scale = dy * (tf.reshape(y, [-1]) - shift) + dlog_det
        dx, dmixture = mixture.vjp(tf.reshape(x, [-1]), dy * tf.exp(log_scale), dlog_det)
        dpair = tf.stack([dy, dlog_scale * (1 - log_scale**2)], axis=-1)
        return _like(x, dx), tf.reshape(tf.concat([dpair, *dmixture], axis=-1), tf.shape(h))

    def _split(self, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, "_Mixture"]:
        """Returns the shifts [N], the log-scales [N] and the mixtures of N elements."""
        count = self.components
        flat = tf.reshape(h, [-1, self.parameters_per_dim])
        pair, logits, means, log_scales = tf.split(flat, [2, count, count, count], axis=-1)
        shift, a = tf.unstack(pair, axis=-1)
        spread = _SPREAD * np.linspace(-1, 1, count) if count > 1 else [0.0]
        return shift, tf.tanh(a), _Mixture(logits, means + tf.constant(spread, h.dtype), log_scales)


class _Point(NamedTuple):
    """A mixture evaluated at one point x per element.

    Attributes:
      z: [N, K], (x - mean) / scale.
      above, below: [N, K], sigmoid(-z) and sigmoid(z).
      of_cdf, of_survival: [N, K], r and q, the fractions of F and of 1 - F that each component contributes.
      value, slope: [N], v and v'.
    """

    z: tf.Tensor
    above: tf.Tensor
    below: tf.Tensor
    of_cdf: tf.Tensor
    of_survival: tf.Tensor
    value: tf.Tensor
    slope: tf.Tensor


class _Mixture:
    """The function v of N elements, each with its own mixture of K logistic distributions.

    Args:
      logits: [N, K], logits of the weights.
      means: [N, K].
      log_scales: [N, K]; clipped to [-7, 7] here.
    """

    def __init__(self, logits: tf.Tensor, means: tf.Tensor, log_scales: tf.Tensor):
        # A constant added to all logits changes nothing, but would be rounded together with each of them.
        self._logits = logits - tf.stop_gradient(tf.reduce_max(logits, axis=-1, keepdims=True))
        self._means = means
        self._log_scales = log_scales
        self._rates = tf.exp(-tf.clip_by_value(log_scales, -_MAX_LOG_SCALE, _MAX_LOG_SCALE))

    def at(self, x: tf.Tensor) -> _Point:
        """Evaluates the mixture at `x`: [N]."""
        z = (x[:, tf.newaxis] - self._means) * self._rates
        above, below = tf.sigmoid(-z), tf.sigmoid(z)
        of_cdf, log_cdf = _softmax_and_logsumexp(self._logits - tf.nn.softplus(-z))
        of_survival, log_survival = _softmax_and_logsumexp(self._logits - tf.nn.softplus(z))
        slope = tf.reduce_sum((of_cdf * above + of_survival * below) * self._rates, axis=-1)
        return _Point(z, above, below, of_cdf, of_survival, *_tilted(x, log_cdf - log_survival, slope))

    def vjp(
        self, x: tf.Tensor, dvalue: tf.Tensor, dlog_slope: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """Returns the vector-Jacobian product of v and log v' at `x`.

        Args:
          x: [N].
          dvalue: [N], the gradient with respect to v.
          dlog_slope: [N], the gradient with respect to log v'.

        Returns:
          The gradients with respect to `x`, and to the logits, the means and the log-scales.
        """
        point = self.at(x)
        cdf_above, survival_below = point.of_cdf * point.above, point.of_survival * point.below
        # The fractions of v' due to F and to 1 - F.
        rates = self._rates * ((1 - _MIN_SLOPE) / point.slope)[:, tf.newaxis]
        by_cdf = tf.reduce_sum(cdf_above * rates, axis=-1)
        by_survival = 1 - _MIN_SLOPE / point.slope - by_cdf
        dlog_odds = (1 - _MIN_SLOPE) * dvalue
        dlog_cdf = (dlog_odds - dlog_slope * by_cdf)[:, tf.newaxis]
        dlog_survival = (dlog_odds + dlog_slope * by_survival)[:, tf.newaxis]
        by_component = dlog_slope[:, tf.newaxis] * (cdf_above + survival_below) * rates

        dlogits = dlog_cdf * point.of_cdf - dlog_survival * point.of_survival + by_component
        dz = dlog_cdf * cdf_above + dlog_survival * survival_below + by_component * (point.above - point.below)
        dmeans = -dz * self._rates
        is_bounded = tf.abs(self._log_scales) > _MAX_LOG_SCALE
        dlog_scales = tf.where(is_bounded, tf.zeros([], x.dtype), -(dz * point.z + by_component))
        dx = _MIN_SLOPE * dvalue - tf.reduce_sum(dmeans, axis=-1)
        return dx, (dlogits, dmeans, dlog_scales)

    def solve(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the solution x: [N] of v(x) = `value`: [N], without gradients."""

        def function(x):
            point = self.at(x)
            return point.value - value, point.slope

        # F is a weighted mean of the components' CDFs, and v one of the log-odds and x, so their solutions bracket it.
        solutions = self._means + value[:, tf.newaxis] / self._rates
        low = tf.minimum(tf.reduce_min(solutions, axis=-1), value)
        high = tf.maximum(tf.reduce_max(solutions, axis=-1), value)
        # Over such a small fraction of a scale, the slope is constant up to rounding.
        precision = np.finfo(value.dtype.as_numpy_dtype).eps ** 0.5
        tolerance = precision / tf.reduce_max(self._rates, axis=-1)
        return implicit.increasing_root(function, low, high, tolerance)


def _tilted(x: tf.Tensor, log_odds: tf.Tensor, slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns v and v' at `x`, from the log-odds and their slope."""
    return (1 - _MIN_SLOPE) * log_odds + _MIN_SLOPE * x, (1 - _MIN_SLOPE) * slope + _MIN_SLOPE


def _softmax_and_logsumexp(logs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the softmax and logsumexp of `logs`: [N, K] over the last axis, [N, K] and [N]."""
    largest = tf.stop_gradient(tf.reduce_max(logs, axis=-1, keepdims=True))
    parts = tf.exp(logs - largest)
    total = tf.reduce_sum(parts, axis=-1, keepdims=True)
    return parts / total, tf.squeeze(largest + tf.math.log(total), -1)


def _like(x: tf.Tensor, flat: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.reshape(flat, tf.shape(x)), x.shape)
