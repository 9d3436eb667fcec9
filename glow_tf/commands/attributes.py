"""Computes attribute directions, which are differences of mean latents.

  glow attributes --model_dir=runs/celeb_a_glow --output=celeb_a.npz
  glow attributes --model_dir=runs/celeb_a_hq_glow --table=attributes.csv --names=Smiling,Young

Attributes come from a data set of TensorFlow Datasets, the sub-folders of a folder, other labels, or a table with one
line per image: its name, and 1, 0 or -1 for each attribute. Images are streamed. glow manipulate moves images along the
directions.
"""

import dataclasses

import tqdm
from absl import flags

from glow_tf.analysis.attributes import Directions, attribute_directions
from glow_tf.analysis.codec import Codec
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs
from glow_tf.data import attributed_batches, load_attributes
from glow_tf.training.evaluation import count_of

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, "table", "names", "limit", "output")


def main() -> None:
    """Writes the directions, and prints the number of images with and without each attribute."""
    output = FLAGS.output or "attributes.npz"
    outputs.suffix_of(output, (".npz",), arrays=[field.name for field in dataclasses.fields(Directions)])
    flow = model_flags.load_flow(many=True)
    source = data_flags.load_data(flow)
    attributes = load_attributes(source, "train", FLAGS.table)
    if FLAGS.names:
        attributes = attributes.only(common_flags.attribute_names())
    codec = Codec(flow, FLAGS.batch_size)
    batches = attributed_batches(source, "train", codec.batch_size, attributes, data_flags.limit())
    count = data_flags.image_count(source, "train")
    with tqdm.tqdm(batches, total=-(-count // codec.batch_size), unit="batch", disable=None) as progress:
        directions = attribute_directions(codec, progress, attributes.names)
    directions.save(output)
    for name, positives, negatives in zip(directions.names, directions.positives, directions.negatives, strict=True):
        print(f"{name}: {count_of(positives, 'image')} with, {negatives:,} without")
    print(output)


if __name__ == "__main__":
    command.run(main)
