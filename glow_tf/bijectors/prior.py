"""Prior of the variables at the top level."""

import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.bijectors import base


class DiagonalPrior(base.Bijector):
    """Whitens by a diagonal Gaussian: the learned top prior, shared by all images or one per label.

      forward:          y = (x - mean) * exp(-log_stddev)
      forward log-det:  -sum(log_stddev)
      inverse:          x = y * exp(log_stddev) + mean
      inverse log-det:  sum(log_stddev)

    Args:
      mean: [n, H, W, C], or [n, T, C]; one prior per label: the batch shape is [n], or [] if n is 1.
      log_stddev: like `mean`.
      event_ndims: rank of an event, with which `mean` may have any batch shape; by default one less than its rank.

    Kingma & Dhariwal 2018, section 5 and the official code.
    """

    def __init__(
        self,
        mean: tf.Tensor,
        log_stddev: tf.Tensor,
        *,
        event_ndims: int | None = None,
        validate_args: bool = False,
        name: str = "diagonal_prior",
    ):
        parameters = dict(locals())
        self._mean = base.reference(mean)
        self._log_stddev = base.reference(log_stddev)
        if not self._mean.shape.is_compatible_with(self._log_stddev.shape):
            raise ValueError(
                f"mean and log_stddev must have one shape; they have {self._mean.shape} and {self._log_stddev.shape}."
            )
        if event_ndims is None:
            event_ndims = self._mean.shape.rank - 1
        # Slices have another batch shape, and the same events.
        parameters["event_ndims"] = event_ndims
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype):
        of_batch = tfp.util.ParameterProperties(event_ndims=lambda _, x_event_ndims: x_event_ndims)
        return {"mean": of_batch, "log_stddev": of_batch}

    def forward_and_log_det(self, x):
        mean, log_stddev = self._for_batch(x)
        return (x - mean) * tf.exp(-log_stddev), self._log_det(-log_stddev, x)

    def inverse_and_log_det(self, y):
        mean, log_stddev = self._for_batch(y)
        return y * tf.exp(log_stddev) + mean, self._log_det(log_stddev, y)

    def _batch_shape(self, x_event_ndims):
        own = self._mean.shape[: self._mean.shape.rank - self.forward_min_event_ndims]
        return tf.TensorShape([]) if own == [1] or x_event_ndims > self.forward_min_event_ndims else own

    def _batch_shape_tensor(self, x_event_ndims):
        ndims = self._batch_shape(x_event_ndims).rank
        return tf.shape(self._mean)[:ndims]

    def _with_flat_batch(self, static, batch):
        if self.experimental_batch_shape().rank < 2:
            return self

        def flat(t):
            event = tf.shape(t)[-self.forward_min_event_ndims :]
            return tf.reshape(tf.broadcast_to(t, tf.concat([batch, event], 0)), tf.concat([[-1], event], 0))

        return DiagonalPrior(flat(self._mean), flat(self._log_stddev), name=self.name)

    def _for_batch(self, x):
        mean, log_stddev = tf.convert_to_tensor(self._mean), tf.convert_to_tensor(self._log_stddev)
        if mean.shape.rank == self.forward_min_event_ndims:
            return mean[tf.newaxis], log_stddev[tf.newaxis]
        count = mean.shape[0]
        if count == 1 or (count is not None and count == x.shape[0]):
            return mean, log_stddev
        # A sample shape in front of the batch shape has been flattened with it into one axis.
        repeats = tf.shape(x)[0] // tf.maximum(tf.shape(mean)[0], 1)
        multiples = tf.concat([[repeats], tf.ones([x.shape.rank - 1], tf.int32)], 0)
        return tf.tile(mean, multiples), tf.tile(log_stddev, multiples)

    def _log_det(self, log_stddev, x):
        return tf.broadcast_to(base.sum_event(log_stddev), tf.shape(x)[:1])
