"""Stopping between two steps when the process is told to end."""

import signal
import threading
from types import FrameType, TracebackType


class StopSignals:
    """While it is entered, SIGTERM and SIGINT (Ctrl-C) set `received`; a second one acts as it did before.

    Only the main thread can set handlers: entered in another one, it does nothing.

    Attributes:
      received: the signal, or None.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that was not set from Python, and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class TrainingStopped(Exception):
    """The run was told to end, and has saved what it had.

    Attributes:
      signal: which one told it; None where another worker was told.
      step: at which it can be continued.
    """

    def __init__(self, received: signal.Signals | None, step: int):
        by = received.name if received else "another worker"
        super().__init__(f"Stopped by {by} at step {step:,}, whose checkpoint is written.")
        self.signal = received
        self.step = step
