"""Activation normalisation (Kingma & Dhariwal 2018, section 3.1)."""

import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.networks.actnorm import normalizer


class ActNorm(base.Bijector):
    """Per-channel scale and bias, initialised to give the first batch zero mean and unit standard deviation.

      forward:          y = (x + bias) * exp(log_scale)
      forward log-det:  H * W * sum(log_scale)
      inverse:          x = y * exp(-log_scale) - bias
      inverse log-det:  -H * W * sum(log_scale)

    Args:
      bias: [C].
      log_scale: [C].
      event_ndims: rank of an event; 3 for [H, W, C], 2 for [T, C], 1 for [C].

    Kingma & Dhariwal 2018, section 3.1 and table 1.

    Examples:
      >>> x = tf.random.stateless_normal([32, 4, 4, 3], seed=[0, 1], mean=5.0, stddev=3.0)
      >>> y = glow_tf.bijectors.ActNorm.from_batch(x).forward(x)
      >>> np.allclose([np.mean(y), np.std(y)], [0, 1], atol=1e-4)
      True
    """

    def __init__(
        self,
        bias: tf.Tensor,
        log_scale: tf.Tensor,
        *,
        event_ndims: int = 3,
        validate_args: bool = False,
        name: str = "actnorm",
    ):
        self._bias = base.reference(bias)
        self._log_scale = base.reference(log_scale)
        if self._bias.shape.rank != 1 or not self._bias.shape.is_compatible_with(self._log_scale.shape):
            raise ValueError(
                "bias and log_scale must both have shape [C]; "
                f"they have {self._bias.shape} and {self._log_scale.shape}."
            )
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    @classmethod
    def from_batch(cls, x: tf.Tensor, **kwargs) -> "ActNorm":
        """Returns the actnorm that normalises the batch `x`: [B, ..., C], for data-dependent initialisation."""
        return cls(*normalizer(x), event_ndims=x.shape.rank - 1, **kwargs)

    def forward_and_log_det(self, x):
        log_scale = tf.convert_to_tensor(self._log_scale)
        return (x + self._bias) * tf.exp(log_scale), positions_log_det(log_scale, x)

    def inverse_and_log_det(self, y):
        log_scale = tf.convert_to_tensor(self._log_scale)
        return y * tf.exp(-log_scale) - self._bias, positions_log_det(-log_scale, y)


def positions_log_det(log_scale: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Computes the log-det, [B], of scaling the channels of `x`: [B, ..., C] by exp(log_scale): [C]."""
    return base.broadcast_log_det(base.positions(x) * tf.reduce_sum(log_scale), x)
