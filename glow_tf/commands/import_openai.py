"""Converts a checkpoint of the official TF1 code to a model directory.

  glow import_openai --checkpoint=logs/model_best_loss.ckpt --image_size=32 --model_dir=runs/official

The prefix of a checkpoint is the name of its files without .index, .meta or .data-00000-of-00001. Depth, width,
coupling, permutation, priors and labels are read from the checkpoint; it does not contain the image size and the bits
per channel, which are --image_size and --n_bits_x in the official command line. All commands work with the model; glow
train --init_from=runs/official, with the same model flags, trains it further.
"""

import pathlib

from absl import flags

from glow_tf.commands import command, common_flags
from glow_tf.models import storage
from glow_tf.models.openai_checkpoint import import_openai_checkpoint, openai_config
from glow_tf.shared_flags import define_path

FLAGS = flags.FLAGS

define_path("checkpoint", None, "The checkpoint's prefix, such as logs/model_best_loss.ckpt.", for_tensorflow=True)
flags.DEFINE_bool("dense", False, "Keeps 1x1 convolutions as matrices, as in the official code, and not in PLU form.")
common_flags.define(
    model_dir="New directory for the model.",
    image_size="Height and width of the images, in pixels, which the checkpoint does not tell.",
    n_bits="Bits per channel, n_bits_x of the official code; by default 8.",
)
# This command writes it.
FLAGS.set_default("model_dir", None)


def main() -> None:
    """Writes the model directory, and prints a description of the model."""
    if not FLAGS.checkpoint or not FLAGS.image_size:
        raise ValueError("--checkpoint and --image_size are needed; see --help.")
    if not FLAGS.model_dir:
        raise ValueError("--model_dir is needed, the new directory for the model.")
    storage.check_not_pretrained(FLAGS.model_dir, "--model_dir")
    directory = pathlib.Path(FLAGS.model_dir)
    if (directory / storage.CONFIG_FILE).exists():
        raise ValueError(f"--model_dir={FLAGS.model_dir} holds a model already; choose a new directory.")
    permutation = "conv1x1_dense" if FLAGS.dense else "conv1x1"
    config = openai_config(FLAGS.checkpoint, FLAGS.image_size, FLAGS.n_bits or 8, permutation=permutation)
    flow = import_openai_checkpoint(FLAGS.checkpoint, config)
    storage.save(flow, directory)
    print(f"{flow}\n{directory}")


if __name__ == "__main__":
    command.run(main)
