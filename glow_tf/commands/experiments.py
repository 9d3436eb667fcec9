"""Sets of training runs: estimated duration, training of missing runs, and results."""

import dataclasses
import functools
import math
import pathlib
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from glow_tf.commands.timing import time_steps
from glow_tf.config import ModelConfig
from glow_tf.data import Source
from glow_tf.models import storage
from glow_tf.runtime.runtime import Runtime
from glow_tf.runtime.text import write
from glow_tf.training import model_directory
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
    """

    group: str
    config: ModelConfig
    training: TrainingConfig
    directory: pathlib.Path


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


def prepare_devices(configs: Iterable[ModelConfig], images: int) -> tuple[tf.distribute.Strategy, Runtime]:
    """Returns the strategy of an experiment, and the runtime of all its models.

    The strategy uses all GPUs, or the CPU, where batches are sharded if each of the models is faster with it. Call it
    before TensorFlow is initialised, and so before a flow is made or TensorFlow reads a data set: after that, neither
    GPUs nor cores can be configured.

    Args:
      configs: the models.
      images: images per update.

    Raises:
      ValueError: if the images cannot be divided among the GPUs.
    """
    # The model that gains least from sharding.
    widest = max(configs, key=lambda config: (config.name == "real_nvp", config.hidden_channels))
    runtime = sharding_runtime(widest, images)
    strategy = make_strategy("mirrored")
    replicas = strategy.num_replicas_in_sync
    if images % replicas:
        raise ValueError(
            f"--train_batch_size={images} is the batch of all {replicas} GPUs together and must be a multiple of "
            f"{replicas}."
        )
    return strategy, runtime


def check_runs(runs: Iterable[Run], source: Source) -> None:
    """Checks that the directories are new, or hold these runs, at most as far as they are to be trained.

    Args:
      runs: the runs.
      source: their images.

    Raises:
      ValueError: if a directory holds another run; the message names what differs.
    """
    for run in runs:
        lines = model_directory.differences_from_run(run.directory, run.config, run.training, source)
        if _steps_made(run) > run.training.steps:
            lines.append(f"steps: {_steps_made(run)} vs. {run.training.steps}")
        if lines:
            raise ValueError(
                f"{run.directory} holds another run. Recorded vs. requested: {'; '.join(lines[:5])}. "
                "Set another --output, or the flags it was made with."
            )


def train_missing(
    runs: Sequence[Run],
    source: Source,
    strategy: tf.distribute.Strategy,
    runtime: Runtime,
    *,
    seconds_per_step: Mapping[str, float] | None = None,
) -> tuple[dict[str, list[Curve]], dict[str, float]]:
    """Prints an estimate of the duration, then trains missing runs one after another.

    Args:
      runs: the runs.
      source: their images.
      strategy, runtime: those of `prepare_devices`.
      seconds_per_step: time of a training step of each group, for the estimate; by default, some steps are timed.

    Returns:
      The curves of each group's runs, and the measured seconds per step of each group.

    Raises:
      ValueError: as `check_runs`, before anything is trained; or if a run diverges.
      SystemExit: after SIGTERM or SIGINT; the same call continues from there.
    """
    check_runs(runs, source)
    missing = [run for run in runs if not is_finished(run)]
    steps = sorted({run.training.steps for run in runs})
    span = " to ".join(f"{count:,}" for count in dict.fromkeys((steps[0], steps[-1])))
    _say(f"{counted(len(runs), 'run')} of {span} steps, {len(runs) - len(missing)} of them finished.")
    if missing:
        if seconds_per_step is None:
            estimate = _estimate(missing, strategy, runtime)
        else:
            estimate = sum(seconds_per_step[run.group] * _steps_left(run) for run in missing)
        _say(f"{counted(len(missing), 'run')} to train will take about {duration(estimate)}.")
    try:
        for i, run in enumerate(missing):
            _say(f"Run {i + 1} of {len(missing)}: {run.directory.name}")
            fewer = f"A smaller --train_batch_size than {run.training.batch_size}"
            trainer = Trainer(
                run.config, run.training, source, run.directory, strategy, runtime=runtime, less_memory=fewer
            )
            result = trainer.run()
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


def common_evaluations(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps at which all runs were evaluated, and their bits/dim.

    Runs that were started with different intervals between evaluations, or continued to more steps, were not all
    evaluated at the same steps.

    Args:
      curves: those of R finished runs of the same number of steps.

    Returns:
      The steps [N], which include the last one, and the bits/dim [R, N].
    """
    steps = functools.reduce(np.intersect1d, (curve.steps for curve in curves))
    return steps, np.stack([curve.bits_per_dim[np.isin(curve.steps, steps)] for curve in curves])


def format_final(curves: Sequence[Curve]) -> str:
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


def _estimate(missing: Sequence[Run], strategy: tf.distribute.Strategy, runtime: Runtime) -> float:
    """Returns the seconds that runs will take, after timing some steps of each group."""
    timings = {}
    for run in missing:
        if run.group not in timings:
            _say(f"Timing {run.group} ...")
            timings[run.group] = time_steps(run.config, run.training, strategy, runtime=runtime)
    total = 0.0
    for run in missing:
        timing = timings[run.group]
        # Each run traces the training step and the evaluation and sampling functions, which take about as long each.
        total += 3 * timing.first_step + timing.step * _steps_left(run)
    return total


def _steps_left(run: Run) -> int:
    return run.training.steps - _steps_made(run)


def _steps_made(run: Run) -> int:
    """Returns the step of the newest checkpoint, which a run continues from; 0 if there is none."""
    return max(storage.checkpoint_paths(run.directory), default=0)


def _seconds_per_step(run: Run) -> float:
    """Returns the median of the logged times per step, excluding the first, which includes tracing."""
    rates = [line["images_per_second"] for line in read_metrics(run.directory) if line["kind"] == "train"]
    return run.training.batch_size / float(np.median(rates[1:] or rates))


def counted(number: float, noun: str) -> str:
    """Returns a number with its noun: `1 seed`, `2 seeds`."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _say(line: str) -> None:
    print(line, flush=True)


def duration(seconds: float) -> str:
    """Formats a duration: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
