"""Fréchet distance of samples to images, in the flow's features and Inception's.

  glow fid --model_dir=runs/cifar10_glow --temperature=1
  glow fid --model_dir=runs/cifar10_glow --split=train --num=10000 --limit=10000

Samples are compared with the images of --split, as many as these unless --num says otherwise. For scale, the images of
the other split are compared with them too. Features are those of each level of the flow, averaged over positions, and
all of them together; and those of keras.applications' InceptionV3, if its weights are in Keras's cache or named by
--inception_weights. Nothing is downloaded.

A distance of sets of images is too large: by `bias`, to first order, which is what two such sets of one Gaussian would
give. Compare distances of as many images only. Prints a table in Markdown.
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
        raise ValueError(f"--inception_weights={weights} is no file; it is at {frechet.INCEPTION_URL}.")
    flow = model_flags.load_flow(many=True)
    features = [frechet.flow_features(flow)]
    if has_inception:
        features.append(frechet.inception_features(flow, weights))
    source = data_flags.load_data(flow)
    if min(FLAGS.num or 2, *(data_flags.image_count(source, split) for split in SPLITS)) < 2:
        raise ValueError("A distance needs at least two images of each split, and two samples.")
    labels: list[np.ndarray] = []
    images = _moments(features, _noting_labels(_of_split(flow, source, FLAGS.split), labels), f"{FLAGS.split} images")
    reference = _moments(features, _of_split(flow, source, _other_split()), f"{_other_split()} images")
    count = FLAGS.num or images["all levels"].count
    samples = _moments(features, _samples(flow, count, labels), "samples")
    _print_table(samples, images, reference, source.title)
    if not has_inception:
        print(
            f"\nFor Inception features, save {frechet.INCEPTION_URL} as {weights}, or name it by --inception_weights."
        )


def _print_table(samples: AllMoments, images: AllMoments, reference: AllMoments, data: str) -> None:
    sample_count, image_count, other_count = (of["all levels"].count for of in (samples, images, reference))
    other = _other_split()
    print(
        f"{count_of(sample_count, 'sample')} at temperature {FLAGS.temperature:g}, and "
        f"{count_of(other_count, f'{other} image')}, to {count_of(image_count, f'{FLAGS.split} image')} of {data}\n"
    )
    print(f"| features | dimensions | samples | bias | {other} images | bias |\n|---|---:|---:|---:|---:|---:|")
    for name, of_images in images.items():
        cells = []
        for moments in (samples[name], reference[name]):
            cells.append(f"{frechet.frechet_distance(moments, of_images):.4g}")
            cells.append(f"{frechet.bias(of_images.covariance, moments.count, of_images.count):.2g}")
        print(f"| {name} | {of_images.mean.size:,} | {' | '.join(cells)} |")
    fewest = min(sample_count, image_count, other_count)
    few = [name for name, of_images in images.items() if fewest <= of_images.mean.size]
    if few:
        print(f"\nThere are no more images than dimensions of {', '.join(few)}: those distances say little.")


def _other_split() -> str:
    return "train" if FLAGS.split == "test" else "test"


def _moments(features: list[frechet.Features], batches: Batches, what: str) -> AllMoments:
    found: AllMoments = {}
    for images, labels in tqdm.tqdm(batches, desc=what, unit="batch", disable=None):
        for of_images in features:
            for name, values in of_images(tf.constant(images), labels).items():
                found.setdefault(name, frechet.Moments(values.shape[-1])).show(values.numpy())
    return found


def _of_split(flow: Flow, source: Source, split: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    batch_size = model_flags.batch_size(flow.config)
    for batch in split_batches(source, split, batch_size, data_flags.limit()).as_numpy_iterator():
        labels = batch["labels"] if flow.config.conditional else None
        checks.check_labels(flow.config, labels)
        yield batch["images"], labels


def _noting_labels(batches: Batches, labels: list[np.ndarray]) -> Batches:
    for images, of_images in batches:
        if of_images is not None:
            labels.append(of_images)
        yield images, of_images


def _samples(flow: Flow, count: int, labels: list[np.ndarray]) -> Batches:
    """Samples, which have the labels of the images of a conditional model."""
    of_samples = np.resize(np.concatenate(labels), count) if labels else None
    sampler = Sampler(
        flow,
        count,
        temperature=FLAGS.temperature,
        labels=of_samples,
        seed=FLAGS.seed,
        batch_size=model_flags.batch_size(flow.config),
    )
    start = 0
    for images, _ in sampler.batches():
        yield images, None if of_samples is None else of_samples[start : start + len(images)]
        start += len(images)


if __name__ == "__main__":
    command.run(main)
