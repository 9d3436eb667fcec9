"""Estimate of the remaining time of a run, from the durations of its parts so far."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from glow_tf.training.config import TrainingConfig

# To train on an image takes as long as to evaluate three or four: there and back again, and the gradient.
_EVALUATIONS_PER_IMAGE = 3.5
_MEMORY_IN_SECONDS = 300.0


class TimeLeft:
    """Estimates the time that the steps, evaluations, grids of samples and checkpoints to come will take.

    Each is expected to take what those of its kind took lately. The first one of a kind, which may have been compiled,
    is left out: until there is another, an evaluation and a grid of samples are expected to take a share of what
    training on as many images takes, and no more than the first one. Of the images that the last evaluation has beyond
    the others, each is expected to take no more than in training, whatever an evaluation takes besides.

    Args:
      training: how many of each there are.
      held_out: number of held-out images.
      clock: returns the time in seconds.
    """

    def __init__(self, training: TrainingConfig, held_out: int, clock: Callable[[], float] = time.monotonic):
        self._training, self._held_out, self._clock = training, held_out, clock
        self._steps, self._evaluated, self._drawn, self._saved = _Pace(), _Pace(), _Pace(), _Pace()
        self._images = min(training.eval_images or held_out, held_out)
        self._since = clock()

    def begin(self) -> None:
        """Begins to measure: what happened before is not part of the next step."""
        self._since = self._clock()

    def made(self, steps: int) -> None:
        """Counts steps, which took the time since the last call, but for what was measured otherwise."""
        now = self._clock()
        self._steps.add(now - self._since, steps)
        self._since = now

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Measures an evaluation during training."""
        return self._measuring(self._evaluated, self._images)

    def drawing(self) -> contextlib.AbstractContextManager[None]:
        """Measures a grid of samples."""
        return self._measuring(self._drawn, self._training.samples)

    def saving(self) -> contextlib.AbstractContextManager[None]:
        """Measures a checkpoint."""
        return self._measuring(self._saved, 1)

    def seconds(self, step: int) -> float | None:
        """Returns how long it takes from step `step`, whose reports are to come, to the end; None if not known yet."""
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
        """Returns how often something is done from a step on, before the end."""
        return max(0, (self._training.steps - 1) // every - (step - 1) // every) if every else 0

    @contextlib.contextmanager
    def _measuring(self, pace: "_Pace", units: int) -> Iterator[None]:
        begun = self._clock()
        yield
        seconds = self._clock() - begun
        pace.add(seconds, units)
        self._since += seconds


class _Pace:
    """Seconds per unit of what is done again and again.

    Attributes:
      first: those of the first time; None before.
    """

    def __init__(self):
        self.first: float | None = None
        self._seconds = self._units = 0.0

    @property
    def lately(self) -> float | None:
        """Their mean over all but the first time, of which the last minutes count the most; None before."""
        return self._seconds / self._units if self._units else None

    def expected(self, guess: float) -> float:
        """Returns what the next unit should take; before a second time a guess, but no more than the first time."""
        if self.lately is not None:
            return self.lately
        return guess if self.first is None else min(guess, self.first)

    def add(self, seconds: float, units: int) -> None:
        """Adds units that took so many seconds together."""
        if self.first is None:
            self.first = seconds / units
            return
        kept = math.exp(-seconds / _MEMORY_IN_SECONDS)
        self._seconds = kept * self._seconds + seconds
        self._units = kept * self._units + units
