"""Trains Glow on few labels, with and without unlabelled images.

  glow semi_supervised --labels_per_class=1,4,16,0 --output=runs/semi_supervised
  glow semi_supervised --dataset=arrays --data_dir=cifar10.npz --test_size=500 --labels_per_class=4,16,64,0

Each run is a model directory under --output. The seed of a run also selects its labels. The estimated duration is
printed first. After an interruption, the same command continues, and trains only the missing runs. Writes
semi_supervised.png and semi_supervised.md.
"""

import math
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags

from glow_tf.analysis import plots
from glow_tf.commands import command, common_flags, experiment_flags, experiments, outputs
from glow_tf.config import ModelConfig
from glow_tf.data import Source, labelled_rows, recipe
from glow_tf.models import presets
from glow_tf.training.evaluation import with_error

FLAGS = flags.FLAGS
# Images whose likelihood a model is trained on, keyed by the value of --train_on.
IMAGES = {"all": "all images", "labelled": "labelled images alone"}

common_flags.define(*experiment_flags.NAMES, "width")
flags.DEFINE_list("labels_per_class", ["1", "4", "16", "0"], "Labelled images of each class to compare; 0: all.")
flags.DEFINE_multi_enum(
    "train_on", list(IMAGES), list(IMAGES), "Images whose likelihood is trained on: all, or only the labelled ones."
)
flags.DEFINE_float("label_loss_weight", 0.1, "Factor on the label loss in bits, beside bits/dim, as for training.", 0.0)


def main() -> None:
    """Trains missing runs, draws the curves and writes the table."""
    counts, kinds = _counts(), list(dict.fromkeys(FLAGS.train_on))
    directory = outputs.folder("runs/semi_supervised")
    source = experiment_flags.load_data()
    config = _config(source)
    # Before labels are chosen, for which TensorFlow reads some data sets.
    strategy, runtime = experiments.prepare_devices([config], FLAGS.train_batch_size)
    curves, _ = experiments.train_missing(_runs(config, source, directory, counts, kinds), source, strategy, runtime)
    seeds = experiments.counted(FLAGS.seeds, "seed")
    title = f"{source.title}: Glow, K={FLAGS.K}, L={FLAGS.L}, width {FLAGS.width}, {seeds}"
    table = [
        "| labels of each class | " + " | ".join(f"accuracy, {IMAGES[kind]} | bits/dim" for kind in kinds) + " |",
        "|---:|" + "---:|" * (2 * len(kinds)),
    ]
    for count in counts:
        by_kind = [curves[_group(count, kind)] for kind in kinds]
        cells = [f"{_accuracy(seed_curves)} | {experiments.format_final(seed_curves)}" for seed_curves in by_kind]
        table.append(f"| {count or 'all'} | {' | '.join(cells)} |")
    about = f"{FLAGS.steps:,} updates of {FLAGS.train_batch_size} images, {source.sizes['test']:,} held out"
    experiments.write_table(directory / "semi_supervised.md", f"{title}, {about}", table)
    labels = np.array([count or source.sizes["train"] / source.num_classes for count in counts])
    lines = {}
    for kind in kinds:
        errors = [[curve.label_error[-1] for curve in curves[_group(count, kind)]] for count in counts]
        lines[IMAGES[kind]] = (labels, 100 * (1 - np.transpose(errors)))
    plots.save_lines(
        {"": lines},
        directory / "semi_supervised.png",
        title=title,
        x="labelled images of each class",
        y="accuracy, held out, %",
        log_x=True,
    )
    print(directory / "semi_supervised.png")


def _counts() -> list[int]:
    counts = common_flags.numbers("labels_per_class")
    if not counts or any(count < 0 or count != int(count) for count in counts):
        raise ValueError(f"--labels_per_class={','.join(FLAGS.labels_per_class)} must be whole numbers from 0.")
    if not FLAGS.label_loss_weight:
        raise ValueError("--label_loss_weight=0 learns no labels: it must be above 0.")
    # 0, which stands for all labels, comes last.
    return sorted({int(count) for count in counts}, key=lambda count: count or math.inf)


def _group(count: int, kind: str) -> str:
    """Returns the group of the runs with `count` labels per class; with all labels, both kinds are the same."""
    return f"labels_{count}_{kind}" if count else "labels_of_all"


def _config(source: Source) -> ModelConfig:
    if not source.num_classes:
        raise ValueError(f"Labels are needed, and {source.title} has none.")
    return presets.glow(
        source.image_shape,
        FLAGS.K,
        FLAGS.L,
        FLAGS.width,
        n_bits=FLAGS.n_bits or recipe(source.name).n_bits,
        num_classes=source.num_classes,
        conditional=False,
        classifier=True,
    )


def _runs(
    config: ModelConfig, source: Source, directory: pathlib.Path, counts: Sequence[int], kinds: Sequence[str]
) -> list[experiments.Run]:
    runs = {}
    # All kinds for the first seed, then for the next, so that results of every kind are available early.
    for seed in range(FLAGS.seeds):
        for count in counts:
            if count:
                # Raises here rather than after hours, if there are too few.
                labelled_rows(source, count, seed)
            for kind in kinds:
                training = experiment_flags.training(
                    source,
                    seed,
                    label_loss_weight=FLAGS.label_loss_weight,
                    labels_per_class=count,
                    labelled_only=count > 0 and kind == "labelled",
                )
                group = _group(count, kind)
                path = directory / f"{group}_seed{seed}"
                runs[path] = experiments.Run(group, config, training, path)
    return list(runs.values())


def _accuracy(curves: Sequence[experiments.Curve]) -> str:
    """Formats the final accuracy in %: mean and standard deviation over runs, or standard error for a single run."""
    values = np.array([1 - curve.label_error[-1] for curve in curves])
    standard_error = math.sqrt(values[0] * (1 - values[0]) / curves[0].images[-1])
    spread = values.std(ddof=1) if values.size > 1 else standard_error
    return f"{with_error(100 * values.mean(), 100 * spread, 1)} %"


if __name__ == "__main__":
    command.run(main)
