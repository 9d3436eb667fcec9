"""Trains Glow and its successors for the same time each.

  glow density --dataset=arrays --data_dir=cifar10.npz --test_size=500 --minutes=30 --seeds=2

Each model is timed first, on an otherwise idle machine, and makes as many updates as fit in --minutes; evaluations and
later load on the machine do not count. The learning rate falls along a cosine to 0 at the last update. Each run is a
model directory under --output, where density.json records --minutes. After an interruption, the same command continues.
Writes density.png and density.md.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from absl import flags

from glow_tf.analysis import plots
from glow_tf.commands import command, common_flags, experiment_flags, experiments, outputs
from glow_tf.commands.compare import parameters
from glow_tf.commands.timing import time_steps
from glow_tf.config import ModelConfig
from glow_tf.data import Source, recipe
from glow_tf.dequantization import Uniform, Variational
from glow_tf.models import presets
from glow_tf.networks import Cnn, Resnet
from glow_tf.runtime import json_files
from glow_tf.runtime.files import atomic_write
from glow_tf.runtime.runtime import Runtime
from glow_tf.training import model_directory
from glow_tf.training.config import TrainingConfig
from glow_tf.transforms import MixtureLogistic

FLAGS = flags.FLAGS

Make = Callable[[tuple[int, int, int], int], ModelConfig]
_TIMED_STEPS, _TIMED_S = 20, 30.0
# Records the time that all models in the directory beside it are trained for.
_BUDGET_FILE, _MOST_BYTES = "density.json", 2**16


def _glow(mixture: bool = False, variational: bool = False) -> Make:
    def make(shape: tuple[int, int, int], n_bits: int) -> ModelConfig:
        return presets.glow(
            shape,
            FLAGS.K,
            FLAGS.L,
            coupling=MixtureLogistic(components=4) if mixture else "affine",
            # A mixture has seven times the parameters, so that a 3x3 last kernel would do most of the work.
            network=Cnn(width=FLAGS.width, kernels=(3, 1, 1) if mixture else (3, 1, 3)),
            n_bits=n_bits,
            dequantizer=_dequantizer(variational, n_bits),
        )

    return make


def _dequantizer(variational: bool, n_bits: int) -> Uniform | Variational:
    if not variational:
        return Uniform(n_bits=n_bits)
    return Variational(n_bits=n_bits, network=Resnet(width=16, blocks=1), depth=2)


def _flow_plus_plus(shape: tuple[int, int, int], n_bits: int) -> ModelConfig:
    return presets.flow_plus_plus(
        shape,
        ((0, 0), (0, 4), (4, 4)),
        width=16,
        blocks=1,
        dropout=0.0,
        coupling=MixtureLogistic(components=4),
        dequantizer=_dequantizer(True, n_bits),
    )


def _jet(shape: tuple[int, int, int], n_bits: int) -> ModelConfig:
    return presets.jet(shape, K=16, width=64, blocks=1, heads=2, n_bits=n_bits)


# Sized for short training times; --K, --L and --width set the size of Glow.
MODELS: dict[str, Make] = {
    "glow": _glow(),
    "glow, variational": _glow(variational=True),
    "glow, mixture": _glow(mixture=True),
    "glow, both": _glow(mixture=True, variational=True),
    "flow_plus_plus": _flow_plus_plus,
    "jet": _jet,
}

NAMES = tuple(name for name in experiment_flags.NAMES if name not in ("steps", "eval_every"))
common_flags.define(*NAMES, "width")
flags.DEFINE_float("minutes", 30.0, "Time that each model is trained for.", lower_bound=0.01)
flags.DEFINE_integer("evaluations", 10, "Evaluations of each run, at equal times.", lower_bound=1)
flags.DEFINE_multi_enum(
    "models", list(MODELS), list(MODELS), "Models to compare; the table has the differences from the first."
)


def main() -> None:
    """Trains missing runs, draws the curves and writes the table."""
    directory = outputs.folder("runs/density")
    source = experiment_flags.load_data()
    _check_minutes(directory)
    n_bits = FLAGS.n_bits or recipe(source.name).n_bits
    configs = {
        # Memory is no concern at these sizes, and inverting mixtures for the gradient takes longer than storing
        # activations.
        name: dataclasses.replace(MODELS[name](source.image_shape, n_bits), gradient="stored")
        for name in dict.fromkeys(FLAGS.models)
    }
    strategy, runtime = experiments.prepare_devices(configs.values(), FLAGS.train_batch_size)
    trainings = {name: _training(source, steps) for name in configs if (steps := _recorded_steps(directory, name))}
    # Before the other models are timed.
    experiments.check(_runs(directory, configs, trainings), source)
    for name, config in configs.items():
        if name not in trainings:
            trainings[name] = _training(source, _timed_steps(name, config, source, strategy, runtime))
    _record_minutes(directory)
    curves, _ = experiments.results(_runs(directory, configs, trainings), source, strategy, runtime)
    title = f"{source.title}: {FLAGS.minutes:g} minutes each, {FLAGS.seeds} seeds"
    experiments.write_table(directory / "density.md", title, _table(configs, trainings, curves, source))
    lines = {}
    for name, of_seeds in curves.items():
        steps, bits_per_dim = experiments.in_common(of_seeds)
        lines[name] = (FLAGS.minutes * steps / trainings[name].steps, bits_per_dim)
    plots.save_lines({"": lines}, directory / "density.png", title=title, x="minutes", y="bits/dim, held out")
    print(directory / "density.png")


def _runs(
    directory: pathlib.Path, configs: Mapping[str, ModelConfig], trainings: Mapping[str, TrainingConfig]
) -> list[experiments.Run]:
    return [
        experiments.Run(name, config, dataclasses.replace(trainings[name], seed=seed), _folder(directory, name, seed))
        # All models for the first seed, then for the next, so that results of every kind are available early.
        for seed in range(FLAGS.seeds)
        for name, config in configs.items()
        if name in trainings
    ]


def _table(configs, trainings, curves, source: Source) -> list[str]:
    names, held_out = list(configs), f"{source.sizes['test']:,} held-out images"
    lines = [
        f"| | parameters | updates | images/s | bits/dim of {held_out} | below {names[0]} |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    first, _ = _mean_and_error(curves[names[0]])
    for name, config in configs.items():
        mean, error = _mean_and_error(curves[name])
        training = trainings[name]
        cells = (
            f"{parameters(config):,}",
            f"{training.steps:,}",
            f"{training.batch_size * training.steps / (60 * FLAGS.minutes):,.0f}",
            f"{mean:.3f} +- {error:.3f}" if FLAGS.seeds > 1 else experiments.last(curves[name]),
            f"{first - mean:.3f}",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _mean_and_error(curves: list[experiments.Curve]) -> tuple[float, float]:
    """Returns the mean of the final bits/dim over seeds and its standard error, which is NaN for one seed."""
    last = np.array([curve.bits_per_dim[-1] for curve in curves])
    return float(last.mean()), float(last.std(ddof=1) / np.sqrt(last.size)) if last.size > 1 else float("nan")


def _check_minutes(directory: pathlib.Path) -> None:
    """Checks that the runs in a directory, if it says how long they are, are of --minutes. Raises ValueError."""
    file = directory / _BUDGET_FILE
    if _has_runs(directory) and file.exists():
        before = json_files.read_object(file, _MOST_BYTES).get("minutes")
        if before != FLAGS.minutes:
            raise ValueError(
                f"--minutes={FLAGS.minutes:g}: the runs in {directory} are of {before} minutes. Set another --output, "
                f"or --minutes={before}."
            )


def _record_minutes(directory: pathlib.Path) -> None:
    # Runs without a record were begun by a version that made none, for an unknown number of minutes.
    if not _has_runs(directory):
        with atomic_write(directory / _BUDGET_FILE) as temporary:
            temporary.write_text(json.dumps({"minutes": FLAGS.minutes}) + "\n", encoding="utf-8")


def _has_runs(directory: pathlib.Path) -> bool:
    return any(directory.glob(f"*/{model_directory.TRAINING_FILE}"))


def _recorded_steps(directory: pathlib.Path, name: str) -> int | None:
    """Returns the number of updates of the runs of a model that have begun; None if none has."""
    settings = (model_directory.settings(_folder(directory, name, seed)) for seed in range(FLAGS.seeds))
    return next((found["steps"] for found in settings if "steps" in found), None)


def _timed_steps(
    name: str, config: ModelConfig, source: Source, strategy: tf.distribute.Strategy, runtime: Runtime
) -> int:
    """Returns the number of updates of a model that fit in --minutes."""
    print(f"Timing {name} ...", flush=True)
    few = experiment_flags.training(source, 0, steps=FLAGS.warmup_steps + 1, eval_every=0)
    timing = time_steps(config, few, strategy, runtime=runtime, steps=_TIMED_STEPS, limit_s=_TIMED_S)
    steps = max(FLAGS.warmup_steps + 1, round(60 * FLAGS.minutes / timing.step))
    # Rounded up to whole intervals, so that the last evaluation follows the last update.
    return steps + -steps % FLAGS.evaluations


def _training(source: Source, steps: int) -> TrainingConfig:
    """Returns the settings of the runs of a model, with the seed 0."""
    eval_every = math.ceil(steps / FLAGS.evaluations)
    return experiment_flags.training(source, 0, steps=steps, eval_every=eval_every, lr_schedule="cosine")


def _folder(directory: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    return directory / f"{name.replace(', ', '_')}_seed{seed}"


if __name__ == "__main__":
    command.run(main)
