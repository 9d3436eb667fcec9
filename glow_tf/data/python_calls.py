"""Python functions in tf.data pipelines that do not deadlock when the interpreter exits.

The threads of a pipeline keep filling its buffers until it is deleted. A script's last iterator is deleted during
interpreter shutdown. At that time a thread that tries to run Python code blocks forever, and the deletion waits for it.
"""

import atexit
import collections
import functools
import threading
import time
from collections.abc import Callable, Sequence

import tensorflow as tf

_QUIET_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 10.0
# Several calls can fail before the first failure is reported.
_FAILURES_KEPT = 16


class _Calls:
    """Counts running calls, and keeps the last exceptions that they raised, as TensorFlow writes them, and messages."""

    def __init__(self):
        self.failures: collections.deque[tuple[str, str]] = collections.deque(maxlen=_FAILURES_KEPT)
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
            try:
                return function(*arrays)
            except Exception as error:
                written = f"{type(error).__name__}: {error}"
                is_sentence = isinstance(error, ValueError | OSError) and str(error)
                calls.failures.append((written, str(error) if is_sentence else written.removesuffix(": ")))
                raise

    return tf.numpy_function(counted, inputs, dtypes, stateful=False)


def cause_of(error: tf.errors.OpError) -> str | None:
    """Returns the message of the exception in a Python function that led to TensorFlow's error; None if none did.

    It begins with the type of the exception, unless that is a ValueError or OSError, whose messages are sentences.
    """
    return next((message for written, message in _calls().failures if written in str(error)), None)
