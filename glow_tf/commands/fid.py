"""Computes Fréchet distances of samples to images in flow and Inception features.

  glow fid --model_dir=runs/cifar10_glow --temperature=1
  glow fid --model_dir=runs/cifar10_glow --split=train --num=10000 --limit=10000

Samples are compared with the images of --split; there are as many samples as images unless --num is set. For scale, the
images of the other split are compared with them too. The features are those of each level of the flow, averaged over
positions, those of all levels concatenated, and those of keras.applications' InceptionV3 if its weights are in Keras's
cache or given by --inception_weights. Nothing is downloaded.

A distance between finite sets is too large: to first order by `bias`, the distance to expect between two sets of these
sizes from one Gaussian. Only compare distances between sets of the same sizes. Prints a Markdown table.
"""

import os
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tqdm
from absl import flags

from glow_tf.analysis import frechet
from glow_tf.analysis.sampling import Sampler
from glow_tf.commands import command, common_flags, data_flags, model_flags
from glow_tf.data import Source, split_batches
from glow_tf.data.source import SPLITS
from glow_tf.models import checks
from glow_tf.models.flow import Flow
from glow_tf.shared_flags import define_path
from glow_tf.training.evaluation import count_of

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, "split", "limit", "num", "temperature", "seed")
define_path("inception_weights", None, "Weights of InceptionV3 without its top; by default those in Keras's cache.")

Batches = Iterable[tuple[np.ndarray, np.ndarray | None]]
AllMoments = dict[str, frechet.Moments]


def main() -> None:
    """Prints the table."""
    weights = FLAGS.inception_weights or frechet.inception_weights()
    has_inception = os.path.isfile(weights)
    if FLAGS.inception_weights and not has_inception:
        raise ValueError(f"--inception_weights={weights} is not a file; it is at {frechet.INCEPTION_URL}.")
    flow = model_flags.load_flow(many=True)
    features = [frechet.flow_features(flow)]
    if has_inception:
        features.append(frechet.inception_features(flow, weights))
    source = data_flags.load_data(flow)
    if min(FLAGS.num or 2, *(data_flags.image_count(source, split) for split in SPLITS)) < 2:
        raise ValueError("A distance needs at least two images of each split, and two samples.")
    labels: list[np.ndarray] = []
    images = _moments(features, _record_labels(_batches(flow, source, FLAGS.split), labels), f"{FLAGS.split} images")
    reference = _moments(features, _batches(flow, source, _other_split()), f"{_other_split()} images")
    count = FLAGS.num or images["all levels"].count
    samples = _moments(features, _samples(flow, count, labels), "samples")
    _print_table(samples, images, reference, source.title)
    if not has_inception:
        print(
            f"\nFor Inception features, save {frechet.INCEPTION_URL} as {weights}, or name it by --inception_weights."
        )


def _print_table(samples: AllMoments, images: AllMoments, reference: AllMoments, data: str) -> None:
    sample_count, image_count, other_count = (moments["all levels"].count for moments in (samples, images, reference))
    other = _other_split()
    print(
        f"{count_of(sample_count, 'sample')} at temperature {FLAGS.temperature:g}, and "
        f"{count_of(other_count, f'{other} image')}, to {count_of(image_count, f'{FLAGS.split} image')} of {data}\n"
    )
    print(f"| features | dimensions | samples | bias | {other} images | bias |\n|---|---:|---:|---:|---:|---:|")
    for name, image_moments in images.items():
        cells = []
        for moments in (samples[name], reference[name]):
            cells.append(f"{frechet.frechet_distance(moments, image_moments):.4g}")
            cells.append(f"{frechet.bias(image_moments.covariance, moments.count, image_moments.count):.2g}")
        print(f"| {name} | {image_moments.mean.size:,} | {' | '.join(cells)} |")
    fewest = min(sample_count, image_count, other_count)
    few = [name for name, moments in images.items() if fewest <= moments.mean.size]
    if few:
        print(f"\nThere are no more images than dimensions of {', '.join(few)}: those distances say little.")


def _other_split() -> str:
    return "train" if FLAGS.split == "test" else "test"


def _moments(features: list[frechet.Features], batches: Batches, what: str) -> AllMoments:
    found: AllMoments = {}
    for images, labels in tqdm.tqdm(batches, desc=what, unit="batch", disable=None):
        for compute in features:
            for name, values in compute(tf.constant(images), labels).items():
                found.setdefault(name, frechet.Moments(values.shape[-1])).show(values.numpy())
    return found


def _batches(flow: Flow, source: Source, split: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    batch_size = model_flags.batch_size(flow.config)
    for batch in split_batches(source, split, batch_size, data_flags.limit()).as_numpy_iterator():
        labels = batch["labels"] if flow.config.conditional else None
        checks.check_labels(flow.config, labels)
        yield batch["images"], labels


def _record_labels(batches: Batches, labels: list[np.ndarray]) -> Batches:
    for images, batch_labels in batches:
        if batch_labels is not None:
            labels.append(batch_labels)
        yield images, batch_labels


def _samples(flow: Flow, count: int, labels: list[np.ndarray]) -> Batches:
    """Yields batches of samples; for a conditional model, with the labels of the images."""
    sample_labels = np.resize(np.concatenate(labels), count) if labels else None
    sampler = Sampler(
        flow,
        count,
        temperature=FLAGS.temperature,
        labels=sample_labels,
        seed=FLAGS.seed,
        batch_size=model_flags.batch_size(flow.config),
    )
    start = 0
    for images, _ in sampler.batches():
        yield images, None if sample_labels is None else sample_labels[start : start + len(images)]
        start += len(images)


if __name__ == "__main__":
    command.run(main)
