"""Shows what the levels of the latents hold: originals, reconstructions, and those with the finest levels drawn anew.

python -m tools.reconstruct --model_dir=runs/celeb_a_hq_glow --num=4 --output=reconstructions.png
"""

from absl import flags

from glow_tf.analysis.codec import Codec
from glow_tf.analysis.grid import labelled_grid, save_png
from glow_tf.analysis.reconstruction import reconstructions
from tools import common

FLAGS = flags.FLAGS

common.define(*common.MODEL_FLAGS, *common.DATA_FLAGS, *common.IMAGE_FLAGS, "temperature", "seed", "scale", "output")


def main() -> None:
    """Writes the PNG, a row for each image."""
    flow = common.load_flow()
    images, labels, names = common.images_of_flags(flow, 4)
    codec = Codec(flow, FLAGS.batch_size)
    rows = reconstructions(codec, images, labels=labels, temperature=FLAGS.temperature, seed=FLAGS.seed)
    drawn = [f"level{'s 1-' if n > 1 else ' '}{n} new" for n in range(1, rows.shape[1] - 1)]
    grid = labelled_grid(rows, rows=names, columns=["original", "reconstruction", *drawn], scale=FLAGS.scale)
    output = FLAGS.output or "reconstructions.png"
    save_png(grid, output)
    print(output)


if __name__ == "__main__":
    common.run(main)
