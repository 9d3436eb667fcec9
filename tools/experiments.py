"""Several training runs side by side: how long they will take, what is missing, and what came out."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.data import Source
from glow_tf.training.config import TrainingConfig
from glow_tf.training.loop import Trainer
from glow_tf.training.signals import TrainingStopped
from glow_tf.training.timing import time_steps

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run of an experiment.

    Attributes:
      group: the runs that differ in nothing but their seed share one.
      config: the model.
      training: how to train it.
      directory: its model directory.
    """

    group: str
    config: ModelConfig
    training: TrainingConfig
    directory: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Curve:
    """Held-out bits/dim of a run: [N] steps, their bits/dim and standard errors, and the numbers of images."""

    steps: np.ndarray
    bits_per_dim: np.ndarray
    standard_error: np.ndarray
    images: np.ndarray

    @property
    def reached(self) -> int:
        """The last step evaluated; 0 if there is none."""
        return int(self.steps[-1]) if self.steps.size else 0


def read_curve(directory: pathlib.Path) -> Curve:
    """The evaluations of a run so far; empty if it has not begun."""
    file = directory / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    # A run that is finished and started again evaluates its last step again.
    tests = {line["step"]: line for line in lines if line["kind"] == "test"}
    rows = [[math.nan if tests[step][name] is None else tests[step][name] for name in _COLUMNS] for step in tests]
    columns = np.array(rows, np.float64).reshape(-1, len(_COLUMNS)).T
    return Curve(np.array(list(tests), np.int64), *columns)


_COLUMNS = ("bits_per_dim", "standard_error", "images")


def is_finished(run: Run, source: Source) -> bool:
    """Whether a run has been evaluated on all held-out images after its last step."""
    curve = read_curve(run.directory)
    return curve.reached == run.training.steps and curve.images[-1] == source.sizes["test"]


def train_all(runs: Sequence[Run], source: Source, strategy: tf.distribute.Strategy, say: Say) -> dict[str, float]:
    """Trains what is missing, one run after the other, after saying how long that will take.

    Returns:
      Measured seconds per step of the groups that had something to train.

    Raises:
      TrainingStopped: after SIGTERM or SIGINT; the same call goes on from there.
    """
    missing = [run for run in runs if not is_finished(run, source)]
    say(f"{len(runs)} runs of {runs[0].training.steps:,} steps, {len(runs) - len(missing)} of them finished.")
    if not missing:
        return {}
    seconds = _time(missing, strategy, say)
    for i, run in enumerate(missing):
        say(f"Run {i + 1} of {len(missing)}: {run.directory.name}")
        trainer = Trainer(run.config, run.training, source, run.directory, strategy)
        result = trainer.run()
        say(f"{run.directory.name}: {result} bits/dim")
    return seconds


def _time(missing: Sequence[Run], strategy: tf.distribute.Strategy, say: Say) -> dict[str, float]:
    timings = {}
    for run in missing:
        if run.group not in timings:
            say(f"Timing {run.group} ...")
            timings[run.group] = time_steps(run.config, run.training, strategy)
    total = 0.0
    for run in missing:
        timing = timings[run.group]
        # Each traces the training step, and functions for evaluation and samples, which take about as long.
        total += 3 * timing.first_step + timing.step * (run.training.steps - read_curve(run.directory).reached)
    say(f"{len(missing)} runs to train will take about {duration(total)}.")
    return {group: timing.step for group, timing in timings.items()}


def how_to_go_on(stop: TrainingStopped) -> str:
    """What to print when an experiment was told to stop."""
    return f"{stop} The same command goes on from there."


def duration(seconds: float) -> str:
    """Seconds for people: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
