"""K steps of the same structure, scanned over stacked parameters."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from glow_tf.arguments import one_of
from glow_tf.bijectors import base
from glow_tf.mode import GRADIENTS
from glow_tf.runtime import devices
from glow_tf.runtime.internals import untracked


class Stack(base.Bijector):
    """K steps that differ only in their parameters, run in a loop so that the size of the graph does not grow with K.

      forward:  x_0 = x,  x_{k+1}, log_det_k = step_k(x_k),  y = x_K,  log-det = sum_k log_det_k
      inverse:  the steps' inverses in reverse order

    With the `reversible` gradient, the forward direction keeps only its output. The backward pass visits the steps from
    last to first, reconstructs each step's input from its output by the inverse, computes the step's vector-Jacobian
    product and discards the input: memory does not grow with K, at the cost of about one more forward pass (Gomez et
    al. 2017, "The Reversible Residual Network"). With `stored`, TensorFlow keeps every activation. `none` is for
    results that are not differentiated; it reads parameters in the fastest way, whose gradient would sum K full stacks.

    Args:
      make_step: builds step k, a bijector of this package, from slice k of `tensors` and `constants`, and from the
        context, if there is one.
      tensors: a nest of float tensors [K, ...], with respect to which the forward direction is differentiated.
      constants: a nest of other tensors [K, ...], such as indices and inverse matrices, which have no gradient.
      context: a nest of tensors that condition every step, with gradients for float tensors; or None.
      depth: K.
      gradient: `reversible`, `stored` or `none`.
      event_ndims: rank of an event.
    """

    def __init__(
        self,
        make_step: Callable[..., base.Bijector],
        tensors: Any,
        constants: Any = (),
        *,
        context: Any = None,
        depth: int,
        gradient: str = "reversible",
        event_ndims: int = 3,
        validate_args: bool = False,
        name: str = "stack",
    ):
        one_of("gradient", gradient, (*GRADIENTS, "none"))
        tensors, constants = tf.nest.map_structure(base.reference, (tensors, constants))
        flat = tf.nest.flatten((tensors, constants))
        wrong = {str(t.shape) for t in flat if t.shape.rank is None or t.shape.rank < 1 or t.shape[0] != depth}
        if wrong:
            raise ValueError(f"Stacked tensors need a leading axis of depth={depth}; shapes found: {sorted(wrong)}.")
        self._make_step = make_step
        self._tensors = untracked(self, tensors)
        self._constants = untracked(self, constants)
        self._context = _Context(context)
        self._depth = depth
        self._gradient = gradient
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        steps = range(self._depth)
        if self._gradient != "reversible":
            return self._scan("forward_and_log_det", steps, x, self._own_reader())
        flat, constants, context = _read(self._tensors), _read(self._constants), self._context.floats()
        shapes = [t.shape for t in [*flat, *context]]

        @tf.custom_gradient
        def forward(x, *sources):
            sources = [tf.ensure_shape(t, shape) for t, shape in zip(sources, shapes, strict=True)]
            tensors, context = sources[: len(flat)], sources[len(flat) :]
            read = _slices(tensors, constants)
            y, log_det = self._scan("forward_and_log_det", steps, x, read, context)

            def gradient(dy, dlog_det):
                return self._walk_back(y, dy, dlog_det, tensors, read, context)

            return (y, log_det), devices.with_present_target(gradient)

        return forward(x, *(_without_static_shape(t) for t in [*flat, *context]))

    def inverse_and_log_det(self, y):
        steps = range(self._depth)[::-1]
        return self._scan("inverse_and_log_det", steps, y, self._own_reader())

    def _own_reader(self):
        if self._gradient == "none":
            return _slices(_read(self._tensors), _read(self._constants))
        return self._differentiable_reader()

    def _differentiable_reader(self):
        # The gradient of reading a TensorArray touches one slice; that of slicing would sum K full stacks.
        tensors, constants = (
            [
                tf.TensorArray(t.dtype, size=self._depth, element_shape=t.shape[1:], clear_after_read=False).unstack(t)
                for t in _read(nest)
            ]
            for nest in (self._tensors, self._constants)
        )
        return lambda k: ([a.read(k) for a in tensors], [a.read(k) for a in constants])

    def _step(self, flat, constants, context) -> base.Bijector:
        tensors = tf.nest.pack_sequence_as(self._tensors, flat)
        return self._make_step(
            tensors, tf.nest.pack_sequence_as(self._constants, constants), *self._context.arguments(context)
        )

    def _scan(self, direction: str, steps: range, x, read, context=None):
        flatten, unflatten = _flattening(x)
        context = self._context.floats() if context is None else context

        def body(i, x, total):
            k = steps.start + steps.step * i
            y, log_det = getattr(self._step(*read(k), context), direction)(unflatten(x))
            return i + 1, flatten(y), total + log_det

        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        _, y, total = self._loop(body, (0, flatten(x), total))
        return unflatten(y), total

    def _walk_back(self, y, dy, dlog_det, flat, read, context):
        _check_forward_mode()
        grads = tuple(tf.TensorArray(t.dtype, size=self._depth, element_shape=t.shape[1:]) for t in flat)
        flatten, unflatten = _flattening(y)

        def body(k, y, dy, grads, context_grads):
            slices, constants = read(k)
            sources = [*slices, *context]
            x, dx, found = self._step(slices, constants, context).inverse_and_vjp(
                unflatten(y), unflatten(dy), dlog_det, sources
            )
            found = [tf.zeros_like(s) if d is None else d for s, d in zip(sources, found, strict=True)]
            grads = tuple(a.write(k, d) for a, d in zip(grads, found, strict=False))
            added = found[len(slices) :]
            context_grads = tuple(total + tf.reshape(d, [-1]) for total, d in zip(context_grads, added, strict=True))
            return k - 1, flatten(x), flatten(dx), grads, context_grads

        # Flat, like the other loop variables.
        context_grads = tuple(tf.zeros([tf.size(t)], t.dtype) for t in context)
        carried = (self._depth - 1, flatten(y), flatten(dy), grads, context_grads)
        _, _, dx, grads, context_grads = self._loop(body, carried)
        context_grads = [tf.reshape(total, tf.shape(t)) for total, t in zip(context_grads, context, strict=True)]
        return unflatten(dx), *(a.stack() for a in grads), *context_grads

    def _loop(self, body, carried):
        # With a fixed number of iterations, XLA need not read the loop condition from the GPU after each one.
        return tf.while_loop(lambda *_: True, body, carried, maximum_iterations=self._depth, parallel_iterations=1)


class _Context:
    """A nest of tensors whose float leaves can be replaced when a gradient is computed."""

    def __init__(self, nest: Any):
        self._nest = None if nest is None else tf.nest.map_structure(tf.convert_to_tensor, nest)

    def floats(self) -> list[tf.Tensor]:
        """Returns the float leaves."""
        return [t for t in self._leaves() if t.dtype.is_floating]

    def arguments(self, floats: list[tf.Tensor]) -> tuple:
        """Returns the nest with its float leaves replaced, as a tuple of arguments; empty if there is no nest."""
        if self._nest is None:
            return ()
        remaining = iter(floats)
        leaves = [next(remaining) if t.dtype.is_floating else t for t in self._leaves()]
        return (tf.nest.pack_sequence_as(self._nest, leaves),)

    def _leaves(self) -> list[tf.Tensor]:
        return [] if self._nest is None else tf.nest.flatten(self._nest)


def _read(nest: Any) -> list[tf.Tensor]:
    """Returns the leaves of a nest as tensors, variables by their current values."""
    return [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(nest)]


def _slices(tensors: list[tf.Tensor], constants: list[tf.Tensor]) -> Callable[[tf.Tensor], tuple[list, list]]:
    """Returns a function that reads slice k of each tensor."""
    return lambda k: ([tf.gather(t, k) for t in tensors], [tf.gather(t, k) for t in constants])


def _check_forward_mode() -> None:
    """Raises an error in eager forward-mode differentiation, where TensorFlow ignores custom gradients."""
    if not tf.executing_eagerly():
        return
    one = tf.ones([])
    with tf.GradientTape() as tape:
        tape.watch(one)
        same = tf.identity(one)
    if tape.gradient(same, one) is None:
        raise NotImplementedError(
            "Forward-mode differentiation of a stack with gradient='reversible' works in a tf.function: "
            "differentiate tf.function(f)(x) in place of f(x), or choose gradient='stored'."
        )


def _flattening(x: tf.Tensor) -> tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]:
    """Returns functions that reshape tensors like `x`: [B, *event] to [B, n] and back.

    Loop variables are flattened because of TensorFlow's layout optimizer: with a GPU, it would insert a transposition
    of images between the entry of a loop and its first operation, which deadlocks nested loops, such as the one over
    the steps of a training call.
    """
    event = x.shape[1:]
    size = event.num_elements()
    return lambda t: tf.reshape(t, [-1, size]), lambda t: tf.reshape(t, [-1, *event])


def _without_static_shape(t: tf.Tensor) -> tf.Tensor:
    # The tape passes zeros to a custom gradient for unused outputs. With a static shape, small zeros are constants and
    # large ones are computed, so that the size of the graph would depend on K.
    if tf.executing_eagerly():
        return t
    return tf.raw_ops.PlaceholderWithDefault(input=t, shape=tf.TensorShape(None))
