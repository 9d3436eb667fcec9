"""Sets of training runs: estimated duration, training of missing runs, and results."""

import dataclasses
import math
import pathlib
import signal
import sys
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from glow_tf.commands.timing import time_steps
from glow_tf.config import ModelConfig
from glow_tf.data import Source
from glow_tf.runtime.runtime import Runtime
from glow_tf.runtime.text import write
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import make_strategy, sharding_runtime
from glow_tf.training.evaluation import with_error
from glow_tf.training.guard import DivergenceError
from glow_tf.training.loop import Trainer
from glow_tf.training.metrics import read_metrics
from glow_tf.training.signals import TrainingStopped

_COLUMNS = ("bits_per_dim", "standard_error", "images", "label_error")


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run of an experiment.

    Attributes:
      group: name of the group of runs that differ only in their seed.
      config: the model.
      training: the training settings.
      directory: the model directory.
      source: the images; None for those of the experiment.
    """

    group: str
    config: ModelConfig
    training: TrainingConfig
    directory: pathlib.Path
    source: Source | None = None


@dataclasses.dataclass(frozen=True)
class Curve:
    """Held-out evaluations of a run.

    Attributes:
      steps: [N], the steps evaluated.
      bits_per_dim: [N], the mean bits/dim.
      standard_error: [N], the standard error of the mean.
      images: [N], the number of images.
      label_error: [N], the fraction of misclassified labels; NaN for a model without a classifier.
    """

    steps: np.ndarray
    bits_per_dim: np.ndarray
    standard_error: np.ndarray
    images: np.ndarray
    label_error: np.ndarray

    @property
    def reached(self) -> int:
        """Last evaluated step; 0 if there is none."""
        return int(self.steps[-1]) if self.steps.size else 0


def read_curve(directory: pathlib.Path) -> Curve:
    """Reads the evaluations of a run so far; empty if it has not started."""
    # A finished run that is started again evaluates its last step again.
    tests = {line["step"]: line for line in read_metrics(directory) if line["kind"] == "test"}
    # Non-finite values are stored as null.
    rows = [[math.nan if line.get(name) is None else line[name] for name in _COLUMNS] for line in tests.values()]
    columns = np.array(rows, np.float64).reshape(-1, len(_COLUMNS)).T
    return Curve(np.array(list(tests), np.int64), *columns)


def is_finished(run: Run) -> bool:
    """Returns whether a run has been evaluated after its last step."""
    return read_curve(run.directory).reached == run.training.steps


def common_runtime(configs: Iterable[ModelConfig], images: int) -> Runtime:
    """Returns the runtime for all models of an experiment, with sharding on a CPU if each of them is faster with it.

    Call it before TensorFlow is initialized.

    Args:
      configs: the models.
      images: images per update.
    """
    # The model that gains least from sharding.
    widest = max(configs, key=lambda config: (config.name == "real_nvp", config.network_width))
    return sharding_runtime(widest, images)


def results(
    runs: Sequence[Run], source: Source, runtime: Runtime | None = None
) -> tuple[dict[str, list[Curve]], dict[str, float]]:
    """Prints an estimate of the duration, then trains missing runs one after another.

    Args:
      runs: the runs.
      source: their images.
      runtime: device and sharding settings; by default those of `common_runtime`.

    Returns:
      The curves of each group's runs, and the measured seconds per step of each group.

    Raises:
      SystemExit: after SIGTERM or SIGINT; the same call continues from there.
    """
    runtime = runtime or common_runtime((run.config for run in runs), min(run.training.batch_size for run in runs))
    strategy = make_strategy("mirrored")
    missing = [run for run in runs if not is_finished(run)]
    _say(f"{len(runs)} runs of {runs[0].training.steps:,} steps, {len(runs) - len(missing)} of them finished.")
    if missing:
        _time(missing, strategy, runtime)
    try:
        for i, run in enumerate(missing):
            _say(f"Run {i + 1} of {len(missing)}: {run.directory.name}")
            images = run.source or source
            result = Trainer(run.config, run.training, images, run.directory, strategy, runtime=runtime).run()
            _say(f"{run.directory.name}: {result} bits/dim")
    except DivergenceError as error:
        raise ValueError(f"{run.directory.name}: {error}") from error
    except TrainingStopped as stop:
        print(f"{stop} The same command goes on from there.", file=sys.stderr)
        raise SystemExit(128 + (stop.signal or signal.SIGTERM)) from None
    curves: dict[str, list[Curve]] = {}
    seconds: dict[str, list[float]] = {}
    for run in runs:
        curves.setdefault(run.group, []).append(read_curve(run.directory))
        seconds.setdefault(run.group, []).append(_seconds_per_step(run))
    return curves, {group: float(np.median(times)) for group, times in seconds.items()}


def last(curves: Sequence[Curve]) -> str:
    """Formats the final bits/dim: mean and standard deviation over runs, or standard error for a single run."""
    values = np.array([curve.bits_per_dim[-1] for curve in curves])
    spread = values.std(ddof=1) if values.size > 1 else curves[0].standard_error[-1]
    return with_error(values.mean(), spread)


def write_table(path: pathlib.Path, title: str, lines: Sequence[str]) -> None:
    """Writes a Markdown table under its title, and prints it."""
    text = "\n".join([title, "", *lines])
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, f"{text}\n")
    print(f"\n{text}\n\n{path}")


def _time(missing: Sequence[Run], strategy: tf.distribute.Strategy, runtime: Runtime) -> None:
    timings = {}
    for run in missing:
        if run.group not in timings:
            _say(f"Timing {run.group} ...")
            timings[run.group] = time_steps(run.config, run.training, strategy, runtime=runtime)
    total = 0.0
    for run in missing:
        timing = timings[run.group]
        # Each run traces the training step and the evaluation and sampling functions, which take about as long each.
        total += 3 * timing.first_step + timing.step * (run.training.steps - read_curve(run.directory).reached)
    _say(f"{len(missing)} runs to train will take about {duration(total)}.")


def _seconds_per_step(run: Run) -> float:
    """Returns the median of the logged times per step, excluding the first, which includes tracing."""
    rates = [line["images_per_second"] for line in read_metrics(run.directory) if line["kind"] == "train"]
    return run.training.batch_size / float(np.median(rates[1:] or rates))


def _say(line: str) -> None:
    print(line, flush=True)


def duration(seconds: float) -> str:
    """Formats a duration: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
