"""Trains Glow and its successors for the same time each.

  glow density --dataset=arrays --data_dir=cifar10.npz --test_size=500 --minutes=30 --seeds=2

  glow density --dataset=cifar10 --minutes=6 --size=published --K=32 --width=512    # on a GPU

Each model is timed first, on an otherwise idle machine, and makes as many updates as fit in --minutes; evaluations and
later load on the machine do not count. The learning rate falls along a cosine to 0 at the last update. Each run is a
model directory under --output, where density.json records --minutes and the updates. After an interruption, the same
command continues. Writes density.png and density.md.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from glow_tf.analysis import plots
from glow_tf.commands import command, common_flags, experiment_flags, experiments, outputs
from glow_tf.commands.timing import time_steps
from glow_tf.config import ModelConfig
from glow_tf.data import Source, recipe
from glow_tf.dequantization import Dequantizer, Uniform, Variational
from glow_tf.models import presets
from glow_tf.models.variables import parameter_count
from glow_tf.networks import Resnet
from glow_tf.runtime import json_files
from glow_tf.runtime.files import atomic_write
from glow_tf.runtime.runtime import Runtime
from glow_tf.training import model_directory
from glow_tf.training.config import TrainingConfig
from glow_tf.transforms import MixtureLogistic

FLAGS = flags.FLAGS

Make = Callable[[tuple[int, int, int], int], ModelConfig]
_TIMED_STEPS, _TIMED_S = 20, 30.0
# A run of more than a few updates that is slower or faster than its timing by more than this factor is mentioned.
_SIMILAR, _FEW_UPDATES = 1.2, 200
_BUDGET_FILE, _MOST_BYTES = "density.json", 2**20


def _small() -> bool:
    return FLAGS.size == "small"


def _glow(mixture: bool = False, variational: bool = False) -> Make:
    def make(shape: tuple[int, int, int], n_bits: int) -> ModelConfig:
        return presets.glow(
            shape,
            FLAGS.K,
            FLAGS.L,
            FLAGS.width,
            coupling=_mixture() if mixture else "affine",
            # A mixture has seven times the parameters, so that a 3x3 last kernel would do most of the work.
            kernels=(3, 1, 1) if mixture else (3, 1, 3),
            n_bits=n_bits,
            dequantizer=_variational(shape, n_bits) if variational else Uniform(n_bits=n_bits),
        )

    return make


def _mixture() -> MixtureLogistic:
    return MixtureLogistic(components=4 if _small() else 32)


def _variational(shape: tuple[int, int, int], n_bits: int) -> Dequantizer:
    if _small():
        return Variational(n_bits=n_bits, network=Resnet(width=16, blocks=1), depth=2)
    return presets.flow_plus_plus(shape, n_bits=n_bits).dequantizer


def _flow_plus_plus(shape: tuple[int, int, int], n_bits: int) -> ModelConfig:
    if not _small():
        return presets.flow_plus_plus(shape, n_bits=n_bits)
    return presets.flow_plus_plus(
        shape,
        ((0, 0), (0, 4), (4, 4)),
        width=16,
        blocks=1,
        dropout=0.0,
        coupling=_mixture(),
        dequantizer=_variational(shape, n_bits),
    )


def _jet(shape: tuple[int, int, int], n_bits: int) -> ModelConfig:
    if not _small():
        return presets.jet(shape, n_bits=n_bits)
    return presets.jet(shape, K=16, width=64, blocks=1, heads=2, n_bits=n_bits)


MODELS: dict[str, Make] = {
    "glow": _glow(),
    "glow, variational": _glow(variational=True),
    "glow, mixture": _glow(mixture=True),
    "glow, both": _glow(mixture=True, variational=True),
    "flow_plus_plus": _flow_plus_plus,
    "jet": _jet,
}

_GLOW_FLAGS = ("K", "L", "width")
NAMES = tuple(name for name in experiment_flags.NAMES if name not in ("steps", "eval_every"))
common_flags.define(*NAMES, width="Hidden channels of the coupling networks of Glow.")
flags.DEFINE_float("minutes", 30.0, "Time that each model is trained for.", lower_bound=0.01)
flags.DEFINE_enum(
    "size",
    "small",
    ["small", "published"],
    "Size of Flow++, its mixtures and its learned noise, and of Jet: small, for minutes on a CPU, or that of the "
    "papers, for a GPU. --K, --L and --width set the size of Glow.",
)
flags.DEFINE_integer("evaluations", 10, "Evaluations of each run, at equal times.", lower_bound=1)
flags.DEFINE_multi_enum(
    "models", list(MODELS), list(MODELS), "Models to compare; the table has the differences from the first."
)


def main() -> None:
    """Trains missing runs, draws the curves and writes the table."""
    if not math.isfinite(FLAGS.minutes):
        raise ValueError(f"--minutes={FLAGS.minutes} must be a number of minutes.")
    if not any(name.startswith("glow") for name in FLAGS.models):
        common_flags.refuse(_GLOW_FLAGS, "is the size of Glow, which --models leaves out.")
    directory = outputs.folder("runs/density")
    source = experiment_flags.load_data()
    recorded = _recorded(directory)
    configs = _configs(source)
    strategy, runtime = experiments.prepare_devices(configs.values(), FLAGS.train_batch_size)
    updates = {name: _updates(directory, name, config, recorded) for name, config in configs.items()}
    trainings = {name: _training(source, count) for name, count in updates.items() if count}
    # Before the other models are timed.
    experiments.check_runs(_runs(directory, configs, trainings), source)
    for name, config in configs.items():
        if name not in trainings:
            count = _timed_updates(name, config, source, strategy, runtime)
            trainings[name] = _training(source, count)
            recorded[name] = {"updates": count, **_timed_as(config)}
            _record(directory, recorded)
    curves, seconds = experiments.train_missing(
        _runs(directory, configs, trainings),
        source,
        strategy,
        runtime,
        seconds_per_step={name: 60 * FLAGS.minutes / training.steps for name, training in trainings.items()},
    )
    for name, training in trainings.items():
        timed, measured = _images_per_second(training), training.batch_size / seconds[name]
        if training.steps >= _FEW_UPDATES and not 1 / _SIMILAR < measured / timed < _SIMILAR:
            print(
                f"Note: {name} was timed at {timed:,.0f} images/s, for which --minutes holds, and trained at "
                f"{measured:,.0f}."
            )
    minutes, seeds = experiments.counted(FLAGS.minutes, "minute"), experiments.counted(FLAGS.seeds, "seed")
    title = f"{source.title}: {minutes} each, {seeds}"
    experiments.write_table(directory / "density.md", title, _table(configs, trainings, curves, source))
    lines = {}
    for name, of_seeds in curves.items():
        steps, bits_per_dim = experiments.common_evaluations(of_seeds)
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
            f"{parameter_count(config):,}",
            f"{training.steps:,}",
            f"{_images_per_second(training):,.0f}",
            f"{mean:.3f} +- {error:.3f}" if FLAGS.seeds > 1 else experiments.format_final(curves[name]),
            f"{first - mean:.3f}",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _images_per_second(training: TrainingConfig) -> float:
    """Returns the speed at which the model was timed."""
    return training.batch_size * training.steps / (60 * FLAGS.minutes)


def _mean_and_error(curves: list[experiments.Curve]) -> tuple[float, float]:
    """Returns the mean of the final bits/dim over seeds and its standard error, which is NaN for one seed."""
    last = np.array([curve.bits_per_dim[-1] for curve in curves])
    return float(last.mean()), float(last.std(ddof=1) / np.sqrt(last.size)) if last.size > 1 else float("nan")


def _configs(source: Source) -> dict[str, ModelConfig]:
    n_bits = FLAGS.n_bits or recipe(source.name).n_bits
    configs = {}
    for name in dict.fromkeys(FLAGS.models):
        try:
            config = MODELS[name](source.image_shape, n_bits)
        except ValueError as error:
            raise ValueError(f"{name}: {error} Leave it out of --models.") from error
        # Small models fit in memory, and inverting mixtures for the gradient takes longer than storing activations.
        configs[name] = dataclasses.replace(config, gradient="stored") if _small() else config
    return configs


def _recorded(directory: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns the record of each model that has been timed: the number of updates, and what was timed.

    Raises:
      ValueError: if the file is damaged, or runs in the directory are of another number of minutes.
    """
    file = directory / _BUDGET_FILE
    try:
        found = json_files.read_object(file, _MOST_BYTES)
    except FileNotFoundError:
        return {}
    models = found.get("models")
    if not isinstance(models, dict) or not all(_is_record(record) for record in models.values()):
        raise ValueError(f"{file} is damaged. Set another --output.")
    if found.get("minutes") == FLAGS.minutes:
        return models
    if any(_begun(directory, name) for name in MODELS):
        raise ValueError(
            f"--minutes={FLAGS.minutes:g}: the runs in {directory} are of {found.get('minutes')} minutes. Set another "
            f"--output, or --minutes={found.get('minutes')}."
        )
    return {}


def _is_record(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("updates"), int)


def _record(directory: pathlib.Path, models: Mapping[str, Mapping[str, Any]]) -> None:
    text = json.dumps({"minutes": FLAGS.minutes, "models": models}, indent=1)
    with atomic_write(directory / _BUDGET_FILE) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def _timed_as(config: ModelConfig) -> dict[str, Any]:
    return {"batch_size": FLAGS.train_batch_size, "config": json.loads(config.to_json())}


def _updates(
    directory: pathlib.Path, name: str, config: ModelConfig, recorded: Mapping[str, Mapping[str, Any]]
) -> int | None:
    """Returns the number of updates of a model that has begun, or was timed as it is now; None for another."""
    if begun := _begun(directory, name):
        return begun
    record = recorded.get(name, {})
    return record["updates"] if _timed_as(config).items() <= record.items() else None


def _begun(directory: pathlib.Path, name: str) -> int | None:
    """Returns the number of updates of the runs of a model; None if none has begun."""
    settings = (model_directory.settings(_folder(directory, name, seed)) for seed in range(FLAGS.seeds))
    return next((found["steps"] for found in settings if "steps" in found), None)


def _timed_updates(
    name: str, config: ModelConfig, source: Source, strategy: tf.distribute.Strategy, runtime: Runtime
) -> int:
    """Returns the number of updates of a model that fit in --minutes.

    Raises:
      ValueError: if the warm-up does not end within them.
    """
    print(f"Timing {name} ...", flush=True)
    few = experiment_flags.training(source, 0, steps=FLAGS.warmup_steps + 1, eval_every=0)
    timing = time_steps(config, few, strategy, runtime=runtime, steps=_TIMED_STEPS, limit_s=_TIMED_S)
    updates = round(60 * FLAGS.minutes / timing.step)
    if updates <= FLAGS.warmup_steps:
        raise ValueError(
            f"--minutes={FLAGS.minutes:g}: {name} makes {updates} updates in this time, and the learning rate rises "
            f"for --warmup_steps={FLAGS.warmup_steps}. Set more minutes, or a shorter warm-up."
        )
    # Rounded up to whole intervals, so that the last evaluation follows the last update.
    return updates + -updates % FLAGS.evaluations


def _training(source: Source, steps: int) -> TrainingConfig:
    """Returns the settings of the runs of a model, with the seed 0."""
    eval_every = math.ceil(steps / FLAGS.evaluations)
    return experiment_flags.training(source, 0, steps=steps, eval_every=eval_every, lr_schedule="cosine")


def _folder(directory: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    return directory / f"{name.replace(', ', '_')}_seed{seed}"


if __name__ == "__main__":
    command.run(main)
