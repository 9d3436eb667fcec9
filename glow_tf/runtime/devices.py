"""The kind of device that operations are built for."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

# Kinds of devices that saved graphs are made for.
KINDS = ("CPU", "GPU")

_target: contextvars.ContextVar[str | None] = contextvars.ContextVar("target", default=None)


def has_gpu() -> bool:
    """Returns whether TensorFlow sees a GPU, without initialising it."""
    return bool(tf.config.get_visible_devices("GPU"))


def best() -> str:
    """Returns the best kind of device of this process: `CPU`, `GPU`, or `TPU` within a TPU strategy.

    TensorFlow is not initialised.
    """
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return "TPU"
    return "GPU" if has_gpu() else "CPU"


def stated() -> str | None:
    """Returns the kind of device set by `made_for`; None outside of it."""
    return _target.get()


def target() -> str:
    """Returns the kind of device that operations built now will run on: that of `made_for`, else `best`."""
    return stated() or best()


def portable(function: Callable[[], Any], kinds: Sequence[str] = KINDS) -> Any:
    """Builds the operations of `function` for each kind of device, and runs those for the device they are placed on.

    For graphs that are saved and may run on any device.

    Args:
      function: builds operations and returns a nest of tensors.
      kinds: the kinds, of which the last one is for other devices, too.
    """

    def branch(kind: str) -> Callable[[], Any]:
        def make():
            with made_for(kind):
                return function()

        return make

    if len(kinds) == 1:
        return branch(kinds[0])()
    # Other devices have the index after the last, for which `tf.switch_case` takes the last branch.
    index = tf.raw_ops.DeviceIndex(device_names=list(kinds))
    return tf.switch_case(index, [branch(kind) for kind in kinds])


def with_present_target(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function, such as a gradient, so that later calls build operations for the present `target`."""
    kind = target()

    def call(*args: Any) -> Any:
        with made_for(kind):
            return function(*args)

    return call


@contextlib.contextmanager
def made_for(kind: str) -> Iterator[None]:
    """Builds operations for a kind of device that this process may not have, as an export does.

    Args:
      kind: `CPU` or `GPU`.
    """
    token = _target.set(kind)
    try:
        yield
    finally:
        _target.reset(token)
