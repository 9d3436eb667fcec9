"""The kind of device that operations are made for."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_target: contextvars.ContextVar[str | None] = contextvars.ContextVar("target", default=None)


def has_gpu() -> bool:
    """Returns whether TensorFlow sees a GPU, without initialising it."""
    return bool(tf.config.get_visible_devices("GPU"))


def best() -> str:
    """Returns the best kind of device of this process: `CPU`, `GPU`, or within a strategy for TPUs `TPU`.

    Without initialising TensorFlow.
    """
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return "TPU"
    return "GPU" if has_gpu() else "CPU"


def stated() -> str | None:
    """Returns the kind of device that `made_for` states; None outside of it."""
    return _target.get()


def target() -> str:
    """Returns the kind of device that operations made now will run on: the one of `made_for`, else `best`."""
    return stated() or best()


def portable(function: Callable[[], Any]) -> Any:
    """Makes the operations of `function` for each kind of device, and runs those of the device they are on.

    For a graph that is saved, of which nobody knows where it will run.

    Args:
      function: makes operations; returns a nest of tensors.
    """

    def branch(kind: str) -> Callable[[], Any]:
        def make():
            with made_for(kind):
                return function()

        return make

    kinds = ["CPU", "GPU"]
    # Of other devices the index is 2, for which the last branch is taken.
    index = tf.raw_ops.DeviceIndex(device_names=kinds)
    return tf.switch_case(index, [branch(kind) for kind in kinds])


def with_present_target(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function, such as a gradient, that makes operations for the `target` of now whenever it is called."""
    kind = target()

    def call(*args: Any) -> Any:
        with made_for(kind):
            return function(*args)

    return call


@contextlib.contextmanager
def made_for(kind: str) -> Iterator[None]:
    """Makes operations for another kind of device than those of this process, as an export does.

    Args:
      kind: `CPU` or `GPU`.
    """
    token = _target.set(kind)
    try:
        yield
    finally:
        _target.reset(token)
