"""The prior of the variables that remain at the top."""

import tensorflow as tf

from glow_tf.bijectors import base


class DiagonalPrior(base.Bijector):
    """Whitens by a diagonal Gaussian: the learned top prior, the same for every image or one a label.

      forward:          y = (x - mean) * exp(-log_stddev)
      forward log-det:  -sum(log_stddev)
      inverse:          x = y * exp(log_stddev) + mean
      inverse log-det:  sum(log_stddev)

    Args:
      mean: [n, H, W, C]; n is 1, or the number of labels, which then is the last axis of the batch shape.
      log_stddev: like `mean`.

    Kingma & Dhariwal 2018, section 5 and the official code.
    """

    def __init__(
        self, mean: tf.Tensor, log_stddev: tf.Tensor, *, validate_args: bool = False, name: str = "diagonal_prior"
    ):
        self._mean = tf.convert_to_tensor(mean)
        self._log_stddev = tf.convert_to_tensor(log_stddev)
        if not self._mean.shape.is_compatible_with(self._log_stddev.shape):
            raise ValueError(
                f"mean and log_stddev must have one shape; they have {self._mean.shape} and {self._log_stddev.shape}."
            )
        super().__init__(event_ndims=self._mean.shape.rank - 1, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        mean, log_stddev = self._for_batch(x)
        return (x - mean) * tf.exp(-log_stddev), self._log_det(-log_stddev, x)

    def inverse_and_log_det(self, y):
        mean, log_stddev = self._for_batch(y)
        return y * tf.exp(log_stddev) + mean, self._log_det(log_stddev, y)

    def _for_batch(self, x):
        if self._mean.shape[0] == 1:
            return self._mean, self._log_stddev
        # A sample shape in front of the batch of labels has been folded into one axis, whose last part are the labels.
        labels = tf.maximum(tf.shape(self._mean)[0], 1)
        repeats = tf.concat([[tf.shape(x)[0] // labels], tf.ones([x.shape.rank - 1], tf.int32)], 0)
        return tf.tile(self._mean, repeats), tf.tile(self._log_stddev, repeats)

    def _log_det(self, log_stddev, x):
        return tf.broadcast_to(base.sum_event(log_stddev), tf.shape(x)[:1])
