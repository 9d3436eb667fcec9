"""Stopping between two steps when the process receives a signal."""

import signal
import threading
from types import FrameType, TracebackType


class StopSignals:
    """Context in which SIGTERM and SIGINT (Ctrl-C) set `received`; a second signal has its previous effect.

    Only the main thread can set handlers; in other threads the context does nothing.

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
            # None stands for a handler that was not set from Python and cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class TrainingStopped(Exception):
    """Raised if the run was told to stop; `Trainer.run` saves everything before it passes this on.

    Args:
      received: as the attribute `signal`.
      step: the step.
      checkpoint: clause of the message about the checkpoint to resume from.

    Attributes:
      signal: the signal received; None if another worker received it.
      step: step at which the run stopped.
    """

    def __init__(self, received: signal.Signals | None, step: int, checkpoint: str = "whose checkpoint is written"):
        by = received.name if received else "another worker"
        super().__init__(f"Stopped by {by} at step {step:,}, {checkpoint}.")
        self.signal = received
        self.step = step
