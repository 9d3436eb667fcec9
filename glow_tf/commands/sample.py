"""Draws images from a trained model: a grid, single files, or arrays.

  glow sample --model_dir=pretrained --temperature=0.7 --num=64 --output=grid.png
  glow sample --model_dir=pretrained --num=1000 --output=drawn/
  glow sample --model_dir=pretrained --num=1000 --output=drawn.npz

The name of --output determines the format:

  x.png, x.jpg   a grid
  x/             a folder of single files: sample_0000.png, sample_0001.png, ...
  x.npz          images [N, H, W, C] uint8, latents [N, D], temperature, seed, and labels [N] for a conditional model
  x.npy          images alone

Pictures are for viewing: with fewer than 8 bits, their levels are spread over 0 to 255. Arrays have the values that
`flow.decode` returns for the latents, as in the official code.
"""

import pathlib

import numpy as np
import tqdm
from absl import flags

from glow_tf.analysis.grid import PICTURES, image_grid, readable_scale, save_picture
from glow_tf.analysis.sampling import Sampler
from glow_tf.commands import command, common_flags, model_flags, outputs
from glow_tf.models.flow import Flow
from glow_tf.runtime.files import atomic_write

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, "temperature", "num", "label", "seed", "scale", "output")
flags.DEFINE_integer("columns", None, "Columns of the grid; by default about as many as rows.", lower_bound=1)

_NAMES = ("images", "latents", "temperature", "seed")


def main() -> None:
    """Draws the images and writes them in the format of --output."""
    output = FLAGS.output or "samples.png"
    suffix = outputs.suffix_of(output, (*PICTURES, *outputs.ARRAYS), folders=True, arrays=_NAMES)
    if FLAGS.columns and suffix not in PICTURES:
        raise ValueError(f"--columns={FLAGS.columns} is for a grid, such as --output=grid.png.")
    if FLAGS.scale and suffix in outputs.ARRAYS:
        raise ValueError(f"--scale={FLAGS.scale} is for pictures; --output={output} is an array.")
    flow = model_flags.load_flow(many=True)
    count = FLAGS.num or 64
    labels = model_flags.sample_labels(flow, count)
    sampler = Sampler(
        flow, count, temperature=FLAGS.temperature, labels=labels, seed=FLAGS.seed, batch_size=FLAGS.batch_size
    )
    if not suffix:
        _save_files(flow, sampler, count, pathlib.Path(output))
    elif suffix in outputs.ARRAYS:
        _save_arrays(sampler, labels, suffix, output)
    else:
        images = flow.config.dequantizer.displayed(sampler())
        scale = FLAGS.scale or readable_scale(images.shape[1])
        save_picture(image_grid(images, FLAGS.columns, scale=scale), output)
    print(output)


def _save_files(flow: Flow, sampler: Sampler, count: int, folder: pathlib.Path) -> None:
    digits, number = max(4, len(str(count - 1))), 0
    with tqdm.tqdm(total=count, unit="image", disable=None) as progress:
        for images, _ in sampler.batches():
            for image in flow.config.dequantizer.displayed(images):
                enlarged = image.repeat(FLAGS.scale or 1, axis=0).repeat(FLAGS.scale or 1, axis=1)
                save_picture(enlarged, folder / f"sample_{number:0{digits}}.png")
                number += 1
            progress.update(len(images))


def _save_arrays(sampler: Sampler, labels: np.ndarray | None, suffix: str, path: str) -> None:
    images, latents = (np.concatenate(parts) for parts in zip(*sampler.batches(), strict=True))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if suffix == ".npy":
            np.save(file, images)
            return
        optional = {} if labels is None else {"labels": labels}
        values = (images, latents, FLAGS.temperature, FLAGS.seed)
        np.savez(file, **dict(zip(_NAMES, values, strict=True)), **optional)


if __name__ == "__main__":
    command.run(main)
