"""Fits linear classifiers to the features of each level, and to the pixels.

  glow probe --model_dir=runs/cifar10_glow
  glow probe --model_dir=models/glow/1 --dataset=arrays --data_dir=images.npz --limit=5000

Fits a least-squares classifier of the labels on training images and evaluates it on test images, for the pixels, the
features at the end of each level, and the latents. The flow itself is not trained. --model_dir may be a SavedModel.
Prints a Markdown table.
"""

import numpy as np
import tensorflow as tf
from absl import flags

from glow_tf.analysis.probe import linear_probe
from glow_tf.commands import command, common_flags, data_flags, model_flags
from glow_tf.data import split_batches
from glow_tf.models.flow import Flow

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, "limit")


def main() -> None:
    """Prints the table."""
    flow = model_flags.load_flow()
    if flow.config.conditional:
        raise ValueError("A conditional model is given the labels; probe a model without.")
    source = data_flags.load_data(flow)
    train, test = (_features(flow, source, split) for split in ("train", "test"))
    labels, test_labels = train.pop("labels"), test.pop("labels")
    print(f"{len(labels):,} training and {len(test_labels):,} test images, {len(np.unique(labels))} classes\n")
    print("| features | dimensions | accuracy |\n|---|---:|---:|")
    for name, values in train.items():
        accuracy = linear_probe(values, labels, test[name], test_labels)
        print(f"| {name} | {values[0].size:,} | {accuracy:.1%} |", flush=True)


def _features(flow: Flow, source, split: str) -> dict[str, np.ndarray]:
    """Returns the pixels, features, latents and labels of the images of a split, by name."""

    def representations(images):
        # A single pass for the results of both `Flow.features` and `Flow.encode`.
        latents, _, features = flow.bijector().forward_through_levels(flow.centers(images))
        levels = {f"level {number}": level for number, level in enumerate(features, 1)}
        return {"pixels": images, **levels, "latents": latents}

    represent = tf.function(
        lambda images: flow.runtime.map_batch(representations, images), autograph=False, reduce_retracing=True
    )
    found: dict[str, list[np.ndarray]] = {}
    count = 0
    for batch in split_batches(source, split, model_flags.batch_size(flow.config)).as_numpy_iterator():
        rows = {
            "labels": batch["labels"],
            **{name: value.numpy() for name, value in represent(batch["images"]).items()},
        }
        for name, value in rows.items():
            found.setdefault(name, []).append(value)
        count += len(batch["labels"])
        if data_flags.limit() and count >= data_flags.limit():
            break
    return {name: np.concatenate(parts)[: data_flags.limit()] for name, parts in found.items()}


if __name__ == "__main__":
    command.run(main)
