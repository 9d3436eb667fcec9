"""Shows what each level of the latents represents, by resampling the finest ones.

  glow reconstruct --model_dir=runs/celeb_a_hq_glow --num=4 --output=reconstructions.png

The top level is never resampled. A model with one level, such as Flow++, Jet or NICE, has each image beside its
reconstruction.
"""

from absl import flags

from glow_tf.analysis.codec import Codec
from glow_tf.analysis.grid import labelled_grid, save_picture
from glow_tf.analysis.reconstruction import reconstructions
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs, picture_flags

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, *picture_flags.NAMES)
common_flags.define(
    "scale",
    "output",
    temperature="Factor on the standard deviation of the resampled latents; not for models with one level.",
    seed="Seed of the resampled latents; not for models with one level.",
)


def main() -> None:
    """Writes the PNG, a row for each image."""
    output = outputs.picture("reconstructions.png")
    picture_flags.check()
    flow = model_flags.load_flow()
    if len(flow.config.latent_shapes) == 1:
        common_flags.refuse(["temperature", "seed"], "is for resampled levels: this model has one, which is kept.")
    images, labels, names = picture_flags.load_pictures(flow, 4)
    codec = Codec(flow, FLAGS.batch_size)
    rows = reconstructions(codec, images, labels=labels, temperature=FLAGS.temperature, seed=FLAGS.seed)
    rows = flow.config.dequantizer.displayed(rows)
    drawn = [f"level{'s 1-' if n > 1 else ' '}{n} new" for n in range(1, rows.shape[1] - 1)]
    grid = labelled_grid(rows, rows=names, columns=["original", "reconstruction", *drawn], scale=FLAGS.scale)
    save_picture(grid, output)
    print(output)


if __name__ == "__main__":
    command.run(main)
