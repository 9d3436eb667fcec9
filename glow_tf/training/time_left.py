"""Estimate of the remaining time of a run, from the durations of its parts so far."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from glow_tf.training.config import TrainingConfig

# Training on an image takes as long as evaluating three or four: forward, inverse and gradient.
_EVALUATIONS_PER_IMAGE = 3.5
_MEMORY_IN_SECONDS = 300.0


class TimeLeft:
    """Estimates the time that the remaining steps, evaluations, sample grids and checkpoints will take.

    Each is expected to take as long as recent ones of its kind. The first one of a kind, which may include compilation,
    is left out: until there is another, an evaluation or a sample grid is expected to take a fraction of the time of
    training on as many images, and no longer than the first one. Each image that the last evaluation has beyond the
    others is expected to take no longer than in training, so that the fixed time of an evaluation is not multiplied.

    Args:
      training: settings that give the number of each.
      held_out: number of held-out images.
      clock: returns the time in seconds.
    """

    def __init__(self, training: TrainingConfig, held_out: int, clock: Callable[[], float] = time.monotonic):
        self._training, self._held_out, self._clock = training, held_out, clock
        self._steps, self._evaluated, self._drawn, self._saved = _UnitTime(), _UnitTime(), _UnitTime(), _UnitTime()
        self._images = min(training.eval_images or held_out, held_out)
        self._since = clock()

    def begin(self) -> None:
        """Starts measuring: the time before is not counted for the next step."""
        self._since = self._clock()

    def made(self, steps: int) -> None:
        """Counts steps, which took the time since the last call, except for what was measured separately."""
        now = self._clock()
        self._steps.add(now - self._since, steps)
        self._since = now

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Measures an evaluation during training."""
        return self._measuring(self._evaluated, self._images)

    def drawing(self) -> contextlib.AbstractContextManager[None]:
        """Measures a sample grid."""
        return self._measuring(self._drawn, self._training.samples)

    def saving(self) -> contextlib.AbstractContextManager[None]:
        """Measures a checkpoint."""
        return self._measuring(self._saved, 1)

    def seconds(self, step: int) -> float | None:
        """Returns the seconds from `step`, whose reports are still to come, to the end; None if not yet known."""
        training, per_step = self._training, self._steps.lately
        if per_step is None:
            return None
        trained_image = per_step / training.batch_size
        per_image = self._evaluated.expected(trained_image / _EVALUATIONS_PER_IMAGE)
        evaluated = (self._times(training.eval_every, step) + 1) * self._images * per_image
        evaluated += (self._held_out - self._images) * min(per_image, trained_image)
        grids = self._times(training.sample_every, step) + 1
        drawn = grids * training.samples * self._drawn.expected(trained_image / _EVALUATIONS_PER_IMAGE)
        left = (training.steps - step) * per_step + evaluated + drawn
        minutes = training.checkpoint_minutes
        by_time = left // (60 * minutes) if minutes else 0
        checkpoints = max(self._times(training.checkpoint_every, step), by_time) + 1
        return left + checkpoints * (self._saved.lately or self._saved.first or 0.0)

    def _times(self, every: int, step: int) -> int:
        """Returns how often something is done from `step` on, before the last step."""
        return max(0, (self._training.steps - 1) // every - (step - 1) // every) if every else 0

    @contextlib.contextmanager
    def _measuring(self, unit_time: "_UnitTime", units: int) -> Iterator[None]:
        begun = self._clock()
        yield
        seconds = self._clock() - begun
        unit_time.add(seconds, units)
        self._since += seconds


class _UnitTime:
    """Seconds per unit of a repeated activity.

    Attributes:
      first: seconds per unit the first time; None before.
    """

    def __init__(self):
        self.first: float | None = None
        self._seconds = self._units = 0.0

    @property
    def lately(self) -> float | None:
        """Mean seconds per unit over all but the first time, weighted towards the last minutes; None before."""
        return self._seconds / self._units if self._units else None

    def expected(self, guess: float) -> float:
        """Returns the expected seconds of the next unit; before a second time `guess`, at most those of the first."""
        if self.lately is not None:
            return self.lately
        return guess if self.first is None else min(guess, self.first)

    def add(self, seconds: float, units: int) -> None:
        """Adds `units` that took `seconds` together."""
        if self.first is None:
            self.first = seconds / units
            return
        kept = math.exp(-seconds / _MEMORY_IN_SECONDS)
        self._seconds = kept * self._seconds + seconds
        self._units = kept * self._units + units
