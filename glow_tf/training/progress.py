"""A progress bar on terminals and in notebooks, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

import tqdm

# tqdm's own format, except for the remaining time.
_BAR = "{{l_bar}}{{bar}}| {{n_fmt}}/{{total_fmt}} [{{elapsed}}<{left}, {{rate_fmt}}{{postfix}}]"


class Progress:
    """Shows the progress of a run, its speed and the remaining time.

    Args:
      steps: step at which the run ends.
      batch_size: images per step.
      stream: stream to write to; a terminal or a notebook shows a bar, anything else a line now and then.
      silent: whether to show nothing, as on all workers but one.
      seconds_between_lines: minimum interval between lines, on streams without a bar.
    """

    def __init__(
        self,
        steps: int,
        batch_size: int,
        *,
        stream: TextIO | None = None,
        silent: bool = False,
        seconds_between_lines: float = 10.0,
    ):
        self._stream = sys.stderr if stream is None else stream
        self._steps, self._batch_size = steps, batch_size
        self._silent = silent
        self._terminal = _shows_a_bar(self._stream) and not silent
        self._between = seconds_between_lines
        self._bar = tqdm.tqdm(total=steps, file=self._stream, unit="step", disable=not self._terminal, smoothing=0.1)
        self.begin(0)

    def begin(self, step: int) -> None:
        """Sets the step at which the run begins."""
        self._step = step
        self._last_line = time.monotonic()
        self._bar.reset(self._steps)
        self._bar.initial = self._bar.n = self._bar.last_print_n = step

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def update(
        self, step: int, bits_per_dim: float, images_per_second: float, seconds_left: float | None = None
    ) -> None:
        """Shows that `step` has been reached; `seconds_left` is None if not yet known."""
        text = f"{bits_per_dim:.3f} bits/dim, {rate_text(images_per_second)} images/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.bar_format = _BAR.format(
            left="?" if seconds_left is None else tqdm.tqdm.format_interval(seconds_left)
        )
        self._bar.update(step - self._step)
        self._step = step
        now = time.monotonic()
        if not self._terminal and (now - self._last_line >= self._between or step == self._steps):
            self._last_line = now
            left = "" if seconds_left is None else f", {_duration(seconds_left)} left"
            self.say(f"step {step:,} of {self._steps:,}: {text}{left}")

    def say(self, line: str) -> None:
        """Writes a line without disturbing the bar."""
        if self._terminal:
            self._bar.write(line, file=self._stream)
        elif not self._silent:
            print(line, file=self._stream, flush=True)


def _shows_a_bar(stream: TextIO) -> bool:
    """Returns whether a stream can rewrite its current line, as terminals and notebook cells can."""
    return stream.isatty() or type(stream).__module__.partition(".")[0] == "ipykernel"


class Throughput:
    """Measures images/s since the last restart, not counting the time it was stopped."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Starts counting from zero."""
        self._begun, self._images = time.monotonic(), 0

    def count(self, images: int) -> None:
        """Adds images."""
        self._images += images

    def rate(self) -> float:
        """Returns the number of images per second."""
        return self._images / max(time.monotonic() - self._begun, 1e-9)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Excludes the time spent within this context."""
        begun = time.monotonic()
        yield
        self._begun += time.monotonic() - begun


def rate_text(rate: float) -> str:
    """Formats a rate."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
