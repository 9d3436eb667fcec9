"""A progress bar on terminals, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import TextIO

import tqdm


class Progress:
    """Shows how far a run is, how fast it goes and how long it will take.

    Args:
      steps: at which the run ends.
      start_step: at which it begins.
      batch_size: images per step.
      stream: where to write; a terminal shows a bar, anything else a line now and then.
      seconds_between_lines: for streams that are no terminal.
    """

    def __init__(
        self,
        steps: int,
        start_step: int,
        batch_size: int,
        *,
        stream: TextIO | None = None,
        seconds_between_lines: float = 10.0,
    ):
        self._stream = sys.stderr if stream is None else stream
        self._steps, self._start, self._batch_size = steps, start_step, batch_size
        self._step = start_step
        self._terminal = self._stream.isatty()
        self._between = seconds_between_lines
        self._begun = self._last_line = time.monotonic()
        self._bar = tqdm.tqdm(
            total=steps, initial=start_step, file=self._stream, unit="step", disable=not self._terminal, smoothing=0.1
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def update(self, step: int, bits_per_dim: float, images_per_second: float) -> None:
        """Shows that `step` is reached."""
        rate = f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.2g}"
        text = f"{bits_per_dim:.3f} bits/dim, {rate} images/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(step - self._step)
        self._step = step
        now = time.monotonic()
        if not self._terminal and (now - self._last_line >= self._between or step == self._steps):
            self._last_line = now
            done = step - self._start
            left = (now - self._begun) / done * (self._steps - step) if done else 0
            self.say(f"step {step:,} of {self._steps:,}: {text}, {_duration(left)} left")

    def say(self, line: str) -> None:
        """Writes a line without disturbing the bar."""
        if self._terminal:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
