"""Moves images along attribute directions (the paper's figure 6).

  glow manipulate --model_dir=runs/celeb_a_glow --attributes=celeb_a.npz --images=anna.png --names=Smiling
  glow manipulate --model_dir=runs/celeb_a_glow --attributes=celeb_a.npz --set=Smiling:0.7,Young:-0.5

--attributes is a file written by glow attributes, by default attributes.npz. An amount of 1 moves an image by
--strength times the difference between the mean latents of images with and without the attribute; the official demo
uses 1.6.
"""

import numpy as np
from absl import flags

from glow_tf.analysis.attributes import Directions, manipulate
from glow_tf.analysis.codec import Codec
from glow_tf.analysis.grid import labelled_grid, save_picture
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs, picture_flags

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, *picture_flags.NAMES, "attributes", "names", "strength")
common_flags.define("scale", "output")
flags.DEFINE_list("amounts", ["-1", "-0.5", "0", "0.5", "1"], "Amounts of a strip; negative ones move away.")
flags.DEFINE_list("set", None, "Several attributes at once, as name:amount, instead of a strip for each.")


def main() -> None:
    """Writes the PNG: for each image, one row per attribute, or a single row for all attributes of --set."""
    output = outputs.picture("manipulated.png")
    picture_flags.check()
    if FLAGS.set:
        common_flags.refuse(["names", "amounts"], "is for a strip for each attribute, not for --set.")
    flow = model_flags.load_flow()
    directions = Directions.load(FLAGS.attributes or "attributes.npz", flow.config.dimensions)
    images, labels, names = picture_flags.load_pictures(flow, 1)
    codec = Codec(flow, FLAGS.batch_size)
    if FLAGS.set:
        moves = {", ".join(FLAGS.set): directions.combined(_amounts(FLAGS.set))}
        amounts = [0.0, 1.0]
        columns = ["reconstruction", "moved"]
    else:
        moves = {name: directions[name] for name in common_flags.attribute_names() or directions.names}
        amounts = common_flags.numbers("amounts")
        columns = [f"{amount:+g}" if amount else "0" for amount in amounts]
    by_move = [
        manipulate(codec, images, direction, amounts, scale=FLAGS.strength, labels=labels)
        for direction in moves.values()
    ]
    rows = np.stack(by_move, axis=1).reshape(-1, *by_move[0].shape[1:])
    row_names = [f"{name}, {move}" if len(names) > 1 else move for name in names for move in moves]
    originals = np.repeat(images, len(moves), axis=0)[:, np.newaxis]
    pictures = flow.config.dequantizer.displayed(np.concatenate([originals, rows], axis=1))
    grid = labelled_grid(pictures, rows=row_names, columns=["original", *columns], scale=FLAGS.scale)
    save_picture(grid, output)
    print(output)


def _amounts(pairs: list[str]) -> dict[str, float]:
    found = {}
    for pair in pairs:
        name, colon, amount = pair.rpartition(":")
        try:
            found[name.strip()] = common_flags.finite(amount if colon else "")
        except ValueError:
            raise ValueError(f"--set={pair} must be name:amount, such as Smiling:0.7.") from None
    return found


if __name__ == "__main__":
    command.run(main)
