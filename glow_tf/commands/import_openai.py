"""Converts a checkpoint of the official TF1 code to a model directory.

  glow import_openai --checkpoint=logs/model_best_loss.ckpt --image_size=32 --model_dir=runs/official

Depth, width, coupling, permutation, priors and labels are read from the checkpoint, which does not contain the size of
the images and the bits per channel. All tools work with the model; glow train --init_from=runs/official,
with the same flags for the model, trains it further.
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
common_flags.define("model_dir", "image_size", "n_bits")


def main() -> None:
    """Writes the model directory, and describes the model."""
    if not FLAGS.checkpoint or not FLAGS.image_size:
        raise ValueError("--checkpoint and --image_size are needed; see --help.")
    directory = pathlib.Path(FLAGS.model_dir)
    if FLAGS.model_dir == "pretrained" or (directory / storage.CONFIG_FILE).exists():
        raise ValueError(f"--model_dir={FLAGS.model_dir} holds a model already; choose a new directory.")
    permutation = "conv1x1_dense" if FLAGS.dense else "conv1x1"
    config = openai_config(FLAGS.checkpoint, FLAGS.image_size, FLAGS.n_bits or 8, permutation=permutation)
    flow = import_openai_checkpoint(FLAGS.checkpoint, config)
    storage.save(flow, directory)
    parameters = sum(v.shape.num_elements() for v in flow.trainable_variables)
    shape = "x".join(map(str, config.image_shape))
    print(f"glow with {parameters:,} parameters, {shape}, {config.n_bits} bits, {len(config.latent_shapes)} levels")
    print(directory)


if __name__ == "__main__":
    command.run(main)
