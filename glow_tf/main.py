"""Trains a normalizing flow on images.

  python -m glow_tf.main                                             the bundled emoji portraits
  python -m glow_tf.main --dataset=folder --data_dir=photos --image_size=64
  python -m glow_tf.main --dataset=celeb_a_hq --K=32 --L=6
  python -m glow_tf.main --flagfile=flags/quickstart.flags

Everything is written under --model_dir; the same command again continues where it stopped. All flags: --help;
those of the libraries too: --helpfull.
"""

import os
import sys

# Before TensorFlow is imported: its own notes on start-up drown what the program has to say.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import absl.logging
import tensorflow as tf
from absl import app, flags

from glow_tf import options
from glow_tf.data import load_source
from glow_tf.export.saved_model import export_saved_model
from glow_tf.models import storage
from glow_tf.training.loop import Trainer


def main(argv: list[str]) -> None:
    """Runs the training the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        result = run()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    print(f"test bits/dim: {result}")


def run():
    """Trains, exports, and returns the final evaluation."""
    absl.logging.set_verbosity(absl.logging.WARNING)
    source = load_source(**options.source_arguments())
    config = options.model_config(source.image_shape, source.num_classes)
    strategy = tf.distribute.MirroredStrategy()
    training = options.training_config(source.image_shape, strategy.num_replicas_in_sync)
    directory = options.model_dir()
    trainer = Trainer(config, training, source, directory, strategy)
    parameters = sum(v.shape.num_elements() for v in trainer.flow.trainable_variables)
    print(f"{source.describe()}\n{config.name} with {parameters:,} parameters, in {directory}", flush=True)
    result = trainer.run()
    if source.skipped:
        names = ", ".join(list(source.skipped)[:10])
        print(f"left out, as they cannot be read: {len(source.skipped)} ({names})")
    export_saved_model(storage.load(directory), directory / "saved_model")
    print(f"samples: {trainer.samples_path}\nSavedModel: {directory / 'saved_model'}")
    return result


if __name__ == "__main__":
    # So that --help lists them, and not those of every library as --helpfull does.
    flags.adopt_module_key_flags(options)
    app.run(main)
