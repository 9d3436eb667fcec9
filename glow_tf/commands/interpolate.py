"""Interpolates between images: a strip and an animation (the paper's figure 5).

  glow interpolate --model_dir=runs/celeb_a_hq_glow --images=anna.png,ben.png
  glow interpolate --model_dir=pretrained --indices=0,40,80 --kind=spherical --steps=6

The images at the ends are decoded from their latents as well, and are exact up to the bits that the model drops.
"""

import pathlib

import numpy as np
from absl import flags

from glow_tf.analysis.codec import Codec
from glow_tf.analysis.grid import labelled_grid, save_gif, save_picture
from glow_tf.analysis.interpolation import KINDS, interpolate_images
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs, picture_flags

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, *picture_flags.NAMES, "scale", "output")
flags.DEFINE_enum("kind", "both", [*KINDS, "both"], "Path through the latents: straight, or along a sphere.")
flags.DEFINE_integer("steps", 8, "Images from one image to the next in the strip.", lower_bound=1)
flags.DEFINE_integer(
    "frames", 24, "Frames from one image to the next in the animation; 0: no animation.", lower_bound=0
)


def main() -> None:
    """Writes the strip, a row for each kind of path, and the animation."""
    output = pathlib.Path(outputs.picture("interpolation.png"))
    if FLAGS.frames:
        outputs.suffix_of(str(output.with_suffix(".gif")), (".gif",))
    picture_flags.check()
    flow = model_flags.load_flow()
    images, labels, names = picture_flags.load_pictures(flow, 2)
    if len(images) < 2:
        raise ValueError("An interpolation needs at least two images; name them by --images or --indices.")
    codec, displayed = Codec(flow, FLAGS.batch_size), flow.config.dequantizer.displayed
    kinds = KINDS if FLAGS.kind == "both" else (FLAGS.kind,)
    strips = [displayed(interpolate_images(codec, images, FLAGS.steps, kind, labels=labels)) for kind in kinds]
    columns = ["" if i % FLAGS.steps else names[i // FLAGS.steps] for i in range(len(strips[0]))]
    save_picture(labelled_grid(np.stack(strips), rows=kinds, columns=columns, scale=FLAGS.scale), output)
    print(output)
    if FLAGS.frames:
        # The path of the last row, forwards and backwards.
        path = displayed(interpolate_images(codec, images, FLAGS.frames, kinds[-1], labels=labels))
        scale = FLAGS.scale or max(1, 256 // images.shape[1])
        frames = np.concatenate([path, path[-2:0:-1]]).repeat(scale, axis=1).repeat(scale, axis=2)
        save_gif(frames, output.with_suffix(".gif"))
        print(output.with_suffix(".gif"))


if __name__ == "__main__":
    command.run(main)
