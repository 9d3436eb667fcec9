"""Evaluates a model: bits/dim with standard error, by level, and round-trip error.

  glow evaluate --model_dir=runs/cifar10_glow
  glow evaluate --model_dir=runs/cifar10_glow --samples=16 --csv=scores.csv
  glow evaluate --model_dir=runs/cifar10_glow --dataset=svhn_cropped
  glow evaluate --model_dir=runs/photos --images=anna.png,ben.jpg,holidays --csv=scores.csv

--images scores your own pictures instead of a data set: files, and folders, which are searched as with
--dataset=folder. They are resized and cropped as the held-out images of training, unless --crop_from or --upscale say
otherwise; with --exact, pictures of other sizes are refused.
Unusable pictures in folders are skipped, and listed at the end.

For a model with a classifier, it also prints the fraction of labels that it predicts wrongly.

The plain figure is for one draw of the model's dequantization noise, by default the draw used by evaluations during
training, which does not depend on the batches; --samples adds the importance-weighted bound.
"""

import csv
import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import tqdm
from absl import flags

from glow_tf.analysis.likelihood import Scorer, Scores, round_trips
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs
from glow_tf.data import DataError, Source, batches_with_rows, picture_source, split_batches
from glow_tf.data.named_pictures import find_pictures
from glow_tf.models.flow import Flow
from glow_tf.runtime import text
from glow_tf.runtime.files import atomic_write
from glow_tf.shared_flags import define_path
from glow_tf.training import model_directory
from glow_tf.training.evaluation import count_of, with_error

FLAGS = flags.FLAGS

common_flags.define(
    *(*model_flags.NAMES, *data_flags.NAMES, "split", "limit", "label", "seed"),
    images="Picture files, and folders of them, to score instead of a data set.",
)
flags.DEFINE_bool("exact", False, "Refuses --images that are not of the model's size.")
flags.DEFINE_integer("samples", 1, "Draws of the noise for the importance-weighted bound; 1: none.", lower_bound=1)
define_path("csv", None, "File for the bits/dim of every image and their parts.")
flags.DEFINE_integer("round_trip", 100, "First images that are encoded and decoded; 0: none.", lower_bound=0)


# Flags that exclude --images, and flags that require it.
_DATA_SET_FLAGS = (*data_flags.OF_DATA_SET, "split")
_IMAGE_FLAGS = ("label", "exact")
# Number of pictures whose scores are printed if they are not written to a file.
_PRINTED = 20


def main() -> None:
    """Prints the figures and writes the CSV."""
    _check_flags()
    if FLAGS.csv:
        outputs.suffix_of(FLAGS.csv, (".csv",), flag="csv")
    flow = model_flags.load_flow(many=True)
    source = _load_pictures(flow) if FLAGS.images else _load_data(flow)
    batch_size = model_flags.batch_size(flow.config)
    noise = f"{type(flow.config.dequantizer).__name__} dequantization, {count_of(FLAGS.samples, 'draw')} an image"
    images = count_of(source.sizes["test"], "picture")
    data = f"{images}, " if FLAGS.images else f"{source.describe()}\n{FLAGS.split} split, "
    print(f"{data}{model_flags.describe_weights()}\n{noise}", flush=True)
    batches = batches_with_rows(source, FLAGS.split, batch_size, data_flags.limit())
    count = data_flags.image_count(source, FLAGS.split)
    rows: list[int] = []
    labels: list[int] = []
    with tqdm.tqdm(batches, total=-(-count // batch_size), unit="batch", disable=None) as progress:
        scores = Scorer(flow)(_record(progress, rows, labels), draws=FLAGS.samples, seed=FLAGS.seed)
    print(f"bits/dim: {mean_and_error(scores.bits_per_dim)} ({count_of(scores.bits_per_dim.size, 'image')})")
    if FLAGS.samples > 1:
        bound = mean_and_error(scores.importance_weighted)
        print(f"bits/dim, importance-weighted over {FLAGS.samples} draws: {bound}")
    print(_parts_table(scores))
    if scores.predicted is not None and source.num_classes == flow.config.num_classes:
        wrong = 100.0 * (scores.predicted != np.array(labels))
        print(f"label error: {mean_and_error(wrong, digits=1)} %")
    if FLAGS.round_trip:
        _print_round_trips(flow, source, batch_size)
    row_names = source.row_names(FLAGS.split)
    names = [text.printable(row_names[row]) for row in rows]
    if FLAGS.csv:
        _write_csv(scores, names, FLAGS.csv)
        print(FLAGS.csv)
    elif FLAGS.images:
        _print_scores(scores, names)
    if FLAGS.images and source.skipped:
        print(source.describe_skipped(), file=sys.stderr)


def _check_flags() -> None:
    """Raises ValueError if flags for data sets and for pictures are mixed, or pictures are missing."""
    if FLAGS.images:
        common_flags.refuse(_DATA_SET_FLAGS, "goes with a data set, not with --images.")
        if FLAGS.exact:
            common_flags.refuse(["crop_from", "upscale"], "is for pictures of other sizes, which --exact refuses.")
        find_pictures(FLAGS.images)
    else:
        common_flags.refuse(_IMAGE_FLAGS, "is for --images.")


def _load_pictures(flow: Flow) -> Source:
    label, num_classes = model_flags.label(flow), flow.config.num_classes if flow.config.conditional else 0
    if num_classes and label is None:
        raise ValueError("This model is conditional: --images need their --label.")
    shape = flow.config.image_shape
    labels = {"label": label, "num_classes": num_classes}
    return picture_source(FLAGS.images, shape, exact=FLAGS.exact, **labels, **data_flags.fitting())


def _load_data(flow: Flow) -> Source:
    source = data_flags.load_data(flow)
    if flow.config.classifier and source.num_classes:
        try:
            return model_directory.with_classes(model_flags.run_directory(), source)
        except DataError as error:
            print(f"No label error: {error}", file=sys.stderr)
            return dataclasses.replace(source, num_classes=0, class_names=())
    return source


def _print_round_trips(flow: Flow, source: Source, batch_size: int) -> None:
    first = min(FLAGS.round_trip, data_flags.limit() or FLAGS.round_trip)
    few = split_batches(source, FLAGS.split, batch_size, first).as_numpy_iterator()
    errors = round_trips(flow, few)
    exact = (errors < flow.config.dequantizer.tolerance).sum()
    are = "is" if errors.size == 1 else "are"
    print(
        f"round trip of pixels in 0 .. 1: largest error {errors.max():.2g}, mean of the images' largest "
        f"{errors.mean():.2g}; {exact:,} of {count_of(errors.size, 'image')} {are} reconstructed exactly at "
        f"{flow.config.n_bits} bits"
    )


def _print_scores(scores: Scores, names: list[str]) -> None:
    print("\nbits/dim of each")
    for name, bits in itertools.islice(zip(names, scores.bits_per_dim, strict=True), _PRINTED):
        print(f"{bits:8.4f}  {name}")
    if len(names) > _PRINTED:
        print(f"and {len(names) - _PRINTED:,} more: --csv=scores.csv writes all")


def mean_and_error(values: np.ndarray, digits: int = 4) -> str:
    """Formats the mean of values with its standard error."""
    error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.nan
    return with_error(values.mean(), error, digits)


def _parts_table(scores: Scores) -> str:
    """Formats the bits/dim of each level, which add up to the mean together with the dequantization term."""
    levels = sorted({name.rpartition("_")[2] for name in scores.parts if "level_" in name}, key=int)
    noise = f"{scores.parts['dequantization'].mean():.4f}".rstrip("0").rstrip(".")
    lines = [f"{'':>8}{'log-det':>10}{'prior':>10}   bits/dim (and {noise} for the levels of the pixels)"]
    for level in levels:
        cells = [scores.parts[f"{kind}/level_{level}"].mean() for kind in ("log_det", "prior")]
        lines.append(f"level {level:>2}" + "".join(f"{cell:10.4f}" for cell in cells))
    return "\n".join(lines)


def _record(batches: Iterable[dict], rows: list[int], labels: list[int]) -> Iterator[dict]:
    for batch in batches:
        rows.extend(batch["rows"].tolist())
        labels.extend(batch["labels"].tolist())
        yield batch


def _write_csv(scores: Scores, names: list[str], path: str) -> None:
    columns = {
        "bits_per_dim": scores.bits_per_dim,
        "importance_weighted": scores.importance_weighted,
        "latent_nats_per_dim": scores.latent_nats,
        **scores.parts,
    }
    if scores.predicted is not None:
        columns["predicted_label"] = scores.predicted
    with atomic_write(path) as temporary, text.open_to_write(temporary, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *columns])
        for name, row in zip(names, zip(*columns.values(), strict=True), strict=True):
            writer.writerow([name, *(f"{value:.6f}" if isinstance(value, float) else value for value in row)])


if __name__ == "__main__":
    command.run(main)
