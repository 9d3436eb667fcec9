"""Base class of the flow's bijectors.

A bijector implements each direction once, as `forward_and_log_det` and `inverse_and_log_det` on a batch. The methods of
`tfp.bijectors.Bijector` are derived from these two, as is the gradient that is computed from the output alone.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.runtime.internals import BijectorCacheWithGreedyAttrs

tfb = tfp.bijectors


class Bijector(tfb.Bijector):
    """A bijector with one method per direction, on one batch axis.

    Subclasses implement

      forward_and_log_det(x: [B, *event])  ->  y: [B, *event'], log|det dy/dx|: [B]
      inverse_and_log_det(y: [B, *event']) ->  x: [B, *event],  log|det dx/dy|: [B]

    TFP's methods `forward`, `inverse`, `forward_log_det_jacobian` and so on take any batch shape and broadcast it
    against the bijector's own (`_batch_shape`), if it has one.

    Parameters may be variables, which every evaluation reads anew. Such a bijector bypasses TFP's cache, as cached
    results would outlive the values of the variables.

    Args:
      event_ndims: rank of an event `x`.
      inverse_event_ndims: rank of an event `y`; by default that of `x`.
      validate_args: whether to check that results are finite, at the cost of a pass over them.
      parameters: constructor arguments, from which TFP makes copies and slices; required with a batch shape.
      name: name of the ops.
    """

    _cache = BijectorCacheWithGreedyAttrs(forward_name="_augmented_forward", inverse_name="_augmented_inverse")

    def __init__(
        self,
        *,
        event_ndims: int,
        inverse_event_ndims: int | None = None,
        validate_args: bool = False,
        parameters: dict[str, Any] | None = None,
        name: str | None = None,
    ):
        super().__init__(
            forward_min_event_ndims=event_ndims,
            inverse_min_event_ndims=event_ndims if inverse_event_ndims is None else inverse_event_ndims,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        # Parameters have no batch shape unless a subclass declares one.
        return {}

    def forward(self, x, name="forward", **kwargs):
        return super().forward(self._uncached(x), name=name, **kwargs)

    def inverse(self, y, name="inverse", **kwargs):
        return super().inverse(self._uncached(y), name=name, **kwargs)

    def forward_log_det_jacobian(self, x, event_ndims=None, name="forward_log_det_jacobian", **kwargs):
        return super().forward_log_det_jacobian(self._uncached(x), event_ndims, name=name, **kwargs)

    def inverse_log_det_jacobian(self, y, event_ndims=None, name="inverse_log_det_jacobian", **kwargs):
        return super().inverse_log_det_jacobian(self._uncached(y), event_ndims, name=name, **kwargs)

    def forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes `y`: [B, *event'] and log|det dy/dx|: [B], in nats, from `x`: [B, *event]."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward_and_log_det.")

    def inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes `x`: [B, *event] and log|det dx/dy|: [B], in nats, from `y`: [B, *event']."""
        raise NotImplementedError(f"{type(self).__name__} defines no inverse_and_log_det.")

    def inverse_and_vjp(
        self, y: tf.Tensor, dy: tf.Tensor, dlog_det: tf.Tensor, sources: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor | None]]:
        """Reconstructs the input from the output and computes the vector-Jacobian product of `forward_and_log_det`.

        Args:
          y: [B, *event'], the output of the forward direction.
          dy: [B, *event'], the gradient with respect to `y`.
          dlog_det: [B], the gradient with respect to the forward log-det.
          sources: tensors from which this bijector was constructed.

        Returns:
          `x`, the gradient with respect to `x`, and the gradients with respect to `sources`, None if not connected.
        """
        x, _ = self.inverse_and_log_det(y)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, *sources])
            outputs = self.forward_and_log_det(x)
        dx, *dsources = tape.gradient(outputs, [x, *sources], output_gradients=[dy, dlog_det])
        return x, dx, dsources

    def _augmented_forward(self, x):
        y, log_det = self._on_one_batch_axis("forward_and_log_det", x, self.forward_min_event_ndims)
        return y, {"fldj": log_det, "ildj": -log_det}

    def _augmented_inverse(self, y):
        x, log_det = self._on_one_batch_axis("inverse_and_log_det", y, self.inverse_min_event_ndims)
        return x, {"fldj": -log_det, "ildj": log_det}

    def _uncached(self, x):
        return tf.identity(x) if self.variables else x

    def _on_one_batch_axis(self, direction, x, event_ndims):
        if x.shape.rank is None or x.shape.rank < event_ndims:
            raise ValueError(f"{self.name} needs at least {event_ndims} dimensions; it gets shape {x.shape}.")
        x = self._broadcast(x, event_ndims)
        static, batch = x.shape[: x.shape.rank - event_ndims], tf.shape(x)[: x.shape.rank - event_ndims]
        evaluate = getattr(self._with_flat_batch(static, batch), direction)
        if static.rank == 1:
            y, log_det = evaluate(x)
        else:
            y, log_det = evaluate(tf.reshape(x, tf.concat([[-1], tf.shape(x)[len(static) :]], 0)))
            event = y.shape[1:]
            y = tf.ensure_shape(tf.reshape(y, tf.concat([batch, tf.shape(y)[1:]], 0)), static + event)
            log_det = tf.ensure_shape(tf.reshape(log_det, batch), static)
        if self.validate_args:
            y = tf.debugging.check_numerics(y, f"{self.name} is not finite")
            log_det = tf.debugging.check_numerics(log_det, f"the log-det of {self.name} is not finite")
        return y, log_det

    def _with_flat_batch(self, static, batch):
        """Returns this bijector for inputs whose batch shape, to which its own broadcasts, is flattened to one axis."""
        return self

    def _broadcast(self, x, event_ndims):
        """Broadcasts `x`: [*batch, *event] against the bijector's own batch shape."""
        own = self.experimental_batch_shape()
        batch, event = x.shape[: x.shape.rank - event_ndims], x.shape[x.shape.rank - event_ndims :]
        if own.rank == 0:
            return x
        try:
            static = tf.broadcast_static_shape(batch, own)
        except ValueError as error:
            raise ValueError(
                f"{self.name} has batch shape {own}, against which {batch}, that of a tensor of shape {x.shape}, does "
                "not broadcast."
            ) from error
        if static.is_fully_defined() and static == batch:
            return x
        ndims = batch.rank
        shape = tf.broadcast_dynamic_shape(tf.shape(x)[:ndims], self.experimental_batch_shape_tensor())
        return tf.ensure_shape(tf.broadcast_to(x, tf.concat([shape, tf.shape(x)[ndims:]], 0)), static + event)

    def _forward(self, x):
        return self._augmented_forward(x)[0]

    def _inverse(self, y):
        return self._augmented_inverse(y)[0]

    def _forward_log_det_jacobian(self, x):
        return self._augmented_forward(x)[1]["fldj"]

    def _inverse_log_det_jacobian(self, y):
        return self._augmented_inverse(y)[1]["ildj"]


class Adapter(Bijector):
    """Adapts any TFP bijector to this base class.

    Args:
      bijector: a `tfb.Bijector` without a batch shape.
      event_ndims: rank of an input event.
      inverse_event_ndims: rank of an output event; by default that of an input event.
    """

    def __init__(
        self,
        bijector: tfb.Bijector,
        *,
        event_ndims: int,
        inverse_event_ndims: int | None = None,
        validate_args: bool = False,
        name: str | None = None,
    ):
        super().__init__(
            event_ndims=event_ndims,
            inverse_event_ndims=inverse_event_ndims,
            validate_args=validate_args,
            name=name or bijector.name,
        )
        self._bijector = bijector

    # TFP bijectors cache their latest results, and equal instances share them. A result cached outside a gradient tape
    # has no gradient inside it; `tf.identity` makes a tensor that is not in the cache.
    def forward_and_log_det(self, x):
        x = tf.identity(x)
        log_det = self._bijector.forward_log_det_jacobian(x, event_ndims=self.forward_min_event_ndims)
        return self._bijector.forward(x), broadcast_log_det(log_det, x)

    def inverse_and_log_det(self, y):
        y = tf.identity(y)
        log_det = self._bijector.inverse_log_det_jacobian(y, event_ndims=self.inverse_min_event_ndims)
        return self._bijector.inverse(y), broadcast_log_det(log_det, y)

    def _forward_event_shape(self, shape):
        return self._bijector.forward_event_shape(shape)

    def _inverse_event_shape(self, shape):
        return self._bijector.inverse_event_shape(shape)

    def _forward_event_shape_tensor(self, shape):
        return self._bijector.forward_event_shape_tensor(shape)

    def _inverse_event_shape_tensor(self, shape):
        return self._bijector.inverse_event_shape_tensor(shape)


def reference(parameter: Any) -> Any:
    """Converts a parameter to a tensor, except for variables and deferred tensors, which are read later."""
    # A Keras variable wraps a TensorFlow variable.
    held = getattr(parameter, "value", None)
    parameter = held if isinstance(held, tf.Variable) else parameter
    return parameter if _can_change(parameter) else tf.convert_to_tensor(parameter)


class Deferred(tf.Module):
    """A function of parameters, evaluated once if they are tensors, and at each call if one of them can change.

    Args:
      function: takes one tensor per parameter.
      *parameters: tensors, variables or deferred tensors.
    """

    def __init__(self, function: Callable, *parameters: Any):
        super().__init__(name="deferred")
        self._function = function
        self._parameters = [reference(parameter) for parameter in parameters]
        self._constant = None if any(map(_can_change, self._parameters)) else function(*self._parameters)

    def __call__(self) -> Any:
        if self._constant is not None:
            return self._constant
        return self._function(*map(tf.convert_to_tensor, self._parameters))


def _can_change(parameter: Any) -> bool:
    return isinstance(parameter, tf.Variable | tfp.util.DeferredTensor)


def broadcast_log_det(log_det: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Broadcasts a scalar log-det to [B] for `x`: [B, ...]."""
    return tf.broadcast_to(tf.cast(log_det, x.dtype), tf.shape(x)[:1])


def sum_log_dets(log_dets: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Sums the log-dets, [B] each, of layers applied to `x`: [B, ...]; zeros if there are none.

    The sum is a single reduction, as TensorFlow's graph optimizer converts a sum of three or more terms to accumulation
    in a temporary variable if memory is short, which fails when a loop runs for a second time.
    """
    return tf.reduce_sum(tf.stack([tf.zeros(tf.shape(x)[:1], x.dtype), *log_dets]), axis=0)


def positions(x: tf.Tensor) -> tf.Tensor:
    """Returns the number of positions that share channel-wise parameters: H * W for [B, H, W, C], T for [B, T, C]."""
    return tf.cast(tf.reduce_prod(tf.shape(x)[1:-1]), x.dtype)


def sum_event(x: tf.Tensor) -> tf.Tensor:
    """Sums over all but the batch axis: [B, ...] to [B]."""
    return tf.reduce_sum(x, axis=list(range(1, x.shape.rank)))


def per_event(log_det: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Reshapes values [B] to broadcast against `x`: [B, ...]."""
    return tf.reshape(log_det, [-1] + [1] * (x.shape.rank - 1))
