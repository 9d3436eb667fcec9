"""Draws images from a trained model as one PNG.

python -m tools.sample --model_dir=pretrained --temperature=0.7 --num=64 --output=grid.png
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

from glow_tf.latent.grid import image_grid, readable_scale, save_png
from glow_tf.latent.sampling import Sampler
from glow_tf.models import storage

FLAGS = flags.FLAGS

flags.DEFINE_string("model_dir", "pretrained", "Model directory, or 'pretrained' for the model that comes along.")
flags.DEFINE_float("temperature", 0.7, "Factor on the standard deviation of the latents.", lower_bound=0.0)
flags.DEFINE_integer("num", 64, "Number of images.", lower_bound=1)
flags.DEFINE_integer("columns", None, "Columns of the grid; by default about as many as rows.", lower_bound=1)
flags.DEFINE_integer("label", None, "Label to draw, for a conditional model; by default all in turn.", lower_bound=0)
flags.DEFINE_integer("seed", 0, "Of the latents.")
flags.DEFINE_integer("scale", None, "Enlargement of each pixel; by default small images are enlarged.", lower_bound=1)
flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "The moving average of the weights, or the weights themselves.")
flags.DEFINE_string("output", "samples.png", "The PNG to write.")


def main(argv: list[str]) -> None:
    """Draws the images and writes the PNG."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        flow = storage.load(FLAGS.model_dir, weights=FLAGS.weights)
        if FLAGS.label is not None and not flow.config.conditional:
            raise ValueError("--label is for conditional models; this one is not.")
        labels = None if FLAGS.label is None else [FLAGS.label] * FLAGS.num
        if FLAGS.label is not None and FLAGS.label >= flow.config.num_classes:
            raise ValueError(f"--label={FLAGS.label} must be less than {flow.config.num_classes}.")
        sampler = Sampler(flow, FLAGS.num, temperature=FLAGS.temperature, labels=labels, seed=FLAGS.seed)
        images = sampler()
        if images.ndim != 4:
            raise ValueError("This is a model of flat vectors, which have no picture; use glow_tf.load(...).sample.")
        scale = FLAGS.scale or readable_scale(images.shape[1])
        save_png(image_grid(images, FLAGS.columns, scale=scale), FLAGS.output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    print(FLAGS.output)


if __name__ == "__main__":
    app.run(main)
