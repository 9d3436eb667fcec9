"""Deadlines for work on a GPU: a deadlock would last for ever."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.gpu import sizes

_standing_still: list[str] = []


def within(function: Callable[[], Any], seconds: float | None = None) -> Any:
    """Returns or raises what `function` does; the test fails if that takes longer than `seconds`.

    In that case, the thread is left running, and later tests in this process fail at once, as they would wait for it.

    Args:
      function: the work.
      seconds: the deadline; by default `sizes.PATIENCE`.
    """
    seconds = seconds or sizes.PATIENCE
    if _standing_still:
        pytest.fail(f"TensorFlow has been standing still since {_standing_still[0]}.")
    found: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _standing_still.append(os.environ.get("PYTEST_CURRENT_TEST", "an earlier test"))
        # TensorFlow waits for its threads when the interpreter exits.
        atexit.register(_leave)
        pytest.fail(f"TensorFlow stands still, or takes longer than {seconds:.0f} s.")
    if errors:
        raise errors[0]
    return found[0]


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
