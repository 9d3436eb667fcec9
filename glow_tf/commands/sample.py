"""Draws images from a trained model as one PNG.

glow sample --model_dir=pretrained --temperature=0.7 --num=64 --output=grid.png
"""

from absl import flags

from glow_tf.analysis.grid import image_grid, readable_scale, save_png
from glow_tf.analysis.sampling import Sampler
from glow_tf.commands import command, common_flags, model_flags

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, "temperature", "num", "label", "seed", "scale", "output")
flags.DEFINE_integer("columns", None, "Columns of the grid; by default about as many as rows.", lower_bound=1)


def main() -> None:
    """Draws the images and writes the PNG."""
    flow = model_flags.load_flow(many=True)
    count = FLAGS.num or 64
    sampler = Sampler(
        flow,
        count,
        temperature=FLAGS.temperature,
        labels=model_flags.sample_labels(flow, count),
        seed=FLAGS.seed,
        batch_size=FLAGS.batch_size,
    )
    images = sampler()
    output = FLAGS.output or "samples.png"
    save_png(image_grid(images, FLAGS.columns, scale=FLAGS.scale or readable_scale(images.shape[1])), output)
    print(output)


if __name__ == "__main__":
    command.run(main)
