"""Draws samples from the same noise at several temperatures (the paper's figure 8).

glow temperature --model_dir=runs/celeb_a_hq_glow --num=6 --output=temperature.png
"""

import numpy as np
from absl import flags

from glow_tf.analysis.codec import Codec
from glow_tf.analysis.grid import labelled_grid, save_picture
from glow_tf.analysis.temperature import TEMPERATURES, temperature_grid
from glow_tf.commands import command, common_flags, model_flags, outputs

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, "num", "label", "seed", "scale", "output")
flags.DEFINE_list("temperatures", [str(t) for t in TEMPERATURES], "Factors on the standard deviation of the latents.")


def main() -> None:
    """Draws the grid and writes the PNG."""
    output = outputs.picture("temperature.png")
    temperatures = common_flags.numbers("temperatures")
    flow = model_flags.load_flow(many=True)
    count = FLAGS.num or 6
    labels = model_flags.sample_labels(flow, count)
    images = temperature_grid(Codec(flow, FLAGS.batch_size), count, temperatures, labels=labels, seed=FLAGS.seed)
    rows = [] if labels is None else [f"label {label}" for label in np.asarray(labels)]
    images = flow.config.dequantizer.displayed(images)
    grid = labelled_grid(images, rows=rows, columns=[f"T = {t:g}" for t in temperatures], scale=FLAGS.scale)
    save_picture(grid, output)
    print(output)


if __name__ == "__main__":
    command.run(main)
