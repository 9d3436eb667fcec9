"""Writes a SavedModel for TensorFlow Serving, TF Hub and Keras.

  glow export --model_dir=runs/celeb_a_glow --output=models/glow/1
  glow export --model_dir=runs/celeb_a_glow --attributes=celeb_a.npz --output=models/glow/1

--attributes, a file written by glow attributes, adds its attribute directions to the SavedModel. The weights are the
moving averages unless --weights=raw. TensorFlow Serving serves models/glow, whose sub-folders must have numbers as
names. For serving alone, --nogradients leaves out what training the SavedModel further takes. To list its functions:

  saved_model_cli show --dir models/glow/1 --all
"""

import pathlib

from absl import flags

from glow_tf.analysis.attributes import Directions
from glow_tf.commands import command, common_flags, model_flags, outputs
from glow_tf.export.saved_model import check_replaceable, export_saved_model
from glow_tf.models import storage
from glow_tf.runtime import paths

FLAGS = flags.FLAGS

common_flags.define("model_dir", "weights", "attributes", "output", "max_megapixels")
flags.DEFINE_bool(
    "gradients",
    True,
    "Whether the SavedModel can be trained further. Without gradients Python loads it in half the memory, and sooner.",
)


def main() -> None:
    """Writes the SavedModel, and prints its signatures, size and path."""
    storage.check_not_pretrained(FLAGS.output, "--output")
    output = pathlib.Path(paths.for_tensorflow(FLAGS.output or "saved_model", "--output"))
    check_replaceable(output, "--output")
    model_flags.check_weights()
    outputs.check_writable(output, output.parent)
    flow = storage.load(FLAGS.model_dir, weights=FLAGS.weights)
    directions = None
    if FLAGS.attributes:
        directions = Directions.load(FLAGS.attributes, flow.config.dimensions)
    output.parent.mkdir(parents=True, exist_ok=True)
    names = export_saved_model(
        flow,
        output,
        directions,
        max_megapixels=model_flags.max_megapixels(),
        crop_from=model_flags.crop_from(),
        differentiable=FLAGS.gradients,
    )
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    print(f"signatures: {', '.join(names)}\nsize: {size / 1e6:,.1f} MB")
    print(output)


if __name__ == "__main__":
    command.run(main)
