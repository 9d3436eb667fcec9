"""Evaluates attribute directions with a classifier trained on real images.

  glow attribute_check --model_dir=runs/celeb_a_glow --attributes=celeb_a.npz
  glow attribute_check --model_dir=pretrained --attributes=people.npz --names=dark,yellow

--attributes is a file written by glow attributes, by default attributes.npz. The classifier is trained on training
images; held-out images are moved towards an attribute if they lack it, and away from it if they have it. All are taken
as displayed, at the model's number of bits. Prints a Markdown table, which --output=x.md also writes to a file.
"""

import dataclasses

import numpy as np
from absl import flags

from glow_tf.analysis.agreement import AttributeClassifier, agreement
from glow_tf.analysis.attributes import Directions, check_counts
from glow_tf.analysis.codec import Codec
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs
from glow_tf.data import DataError, attributed_batches, load_attributes
from glow_tf.runtime import text
from glow_tf.runtime.files import atomic_write

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, "attributes", "table", "names", "strength", "seed", "output")
flags.DEFINE_integer("train_images", 5000, "Training images for the classifier, evenly spaced.", lower_bound=1)
flags.DEFINE_integer("test_images", 500, "Held-out images to move, evenly spaced.", lower_bound=1)
flags.DEFINE_integer("epochs", 30, "Passes of the classifier over its images.", lower_bound=1)


def main() -> None:
    """Trains the classifier, moves the images, and prints the table."""
    if FLAGS.output:
        outputs.suffix_of(FLAGS.output, (".md",))
    flow = model_flags.load_flow(many=True)
    directions = Directions.load(FLAGS.attributes or "attributes.npz", flow.config.dimensions)
    if FLAGS.names:
        directions = directions.only(common_flags.attribute_names())
    source = data_flags.load_data(flow)
    real = _load_split(source, "train", directions.names, FLAGS.train_images)
    check_counts(directions.names, *((real["attributes"] == value).sum(axis=0) for value in (1, 0)))
    test = _load_split(source, "test", directions.names, FLAGS.test_images)
    classifier = AttributeClassifier(flow.config.image_shape, len(directions.names), seed=FLAGS.seed)
    classifier.fit(flow.config.dequantizer.displayed(real["images"]), real["attributes"], epochs=FLAGS.epochs)
    results = agreement(
        Codec(flow, FLAGS.batch_size),
        classifier,
        directions,
        test["images"],
        test["attributes"],
        scale=FLAGS.strength,
        labels=test["labels"] if flow.config.conditional else None,
    )
    lines = [
        "| attribute | accuracy on real images | added | removed | others kept | change where it shows | elsewhere |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        values = zip(dataclasses.astuple(result), [".0%"] * 4 + [".1f"] * 2, strict=True)
        cells = ["-" if np.isnan(value) else format(value, form) for value, form in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    print("\n".join(lines))
    if FLAGS.output:
        with atomic_write(FLAGS.output) as temporary:
            text.write(temporary, "\n".join(lines) + "\n")
        print(FLAGS.output)


def _load_split(source, split, names, count) -> dict[str, np.ndarray]:
    attributes = load_attributes(source, split, FLAGS.table).only(names)
    batches = list(attributed_batches(source, split, 64, attributes, count, spaced=True))
    if not batches:
        raise DataError(f"None of the {split} images of {source.name} can be read.")
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


if __name__ == "__main__":
    command.run(main)
