"""Python functions in tf.data pipelines that do not deadlock when the interpreter exits.

The threads of a pipeline keep filling its buffers until it is deleted. A script's last iterator is deleted during
interpreter shutdown. At that time a thread that tries to run Python code blocks forever, and the deletion waits for it.
"""

import atexit
import functools
import threading
import time
from collections.abc import Callable, Sequence

import tensorflow as tf

_QUIET_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 10.0


class _Calls:
    """Counts running calls."""

    def __init__(self):
        self._lock = threading.Lock()
        self._running, self._last = 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            self._last = time.monotonic()

    def wait_for_quiet(self) -> None:
        """Waits until the buffers are full and no more calls arrive."""
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        while (now := time.monotonic()) < deadline and (self._running or now - self._last < _QUIET_SECONDS):
            time.sleep(_QUIET_SECONDS / 5)


@functools.cache
def _calls() -> _Calls:
    calls = _Calls()
    atexit.register(calls.wait_for_quiet)
    return calls


def numpy_function(
    function: Callable, inputs: Sequence[tf.Tensor], dtypes: tf.DType | Sequence[tf.DType]
) -> tf.Tensor | list[tf.Tensor]:
    """Wraps a stateless function like `tf.numpy_function`; the interpreter waits for its calls before exiting."""
    calls = _calls()

    def counted(*arrays):
        with calls:
            return function(*arrays)

    return tf.numpy_function(counted, inputs, dtypes, stateful=False)
