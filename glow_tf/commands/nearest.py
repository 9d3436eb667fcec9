"""Shows the training images nearest to samples, to detect memorisation.

  glow nearest --model_dir=runs/cifar10_glow --num=8 --output=nearest.png

Also prints the median distances of samples and of held-out images to their nearest training image: if samples are much
nearer, the model has memorised training images.
"""

import numpy as np
import tqdm
from absl import flags

from glow_tf.analysis.codec import Codec, draw_latents
from glow_tf.analysis.grid import labelled_grid, save_picture
from glow_tf.analysis.neighbours import NearestNeighbours
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs
from glow_tf.data import Source, split_batches
from glow_tf.training.evaluation import count_of

FLAGS = flags.FLAGS

common_flags.define(
    *model_flags.NAMES, *data_flags.NAMES, "num", "label", "limit", "temperature", "seed", "scale", "output"
)
flags.DEFINE_integer("neighbours", 3, "Training images shown for each sample and distance.", lower_bound=1)


def main() -> None:
    """Writes the PNG and prints the distances."""
    output = outputs.picture("nearest.png")
    flow = model_flags.load_flow(many=True)
    source = data_flags.load_data(flow)
    codec = Codec(flow, FLAGS.batch_size)
    count = FLAGS.num or 8
    labels = model_flags.sample_labels(flow, count)
    z = FLAGS.temperature * draw_latents(flow, count, seed=FLAGS.seed)
    # All images are compared as displayed: the levels of samples are rounded, and those of other images are not.
    displayed = flow.config.dequantizer.displayed
    samples = displayed(codec.decode(z, labels))
    held_out = next(split_batches(source, "test", count, count, spaced=True).as_numpy_iterator())
    z_held_out = codec.encode(held_out["images"], held_out["labels"] if flow.config.conditional else None)

    k = FLAGS.neighbours
    found = {
        "pixels": NearestNeighbours(np.concatenate([samples, displayed(held_out["images"])]), k),
        "latents": NearestNeighbours(np.concatenate([z, z_held_out]), k),
    }
    for batch in _training_batches(source, codec):
        found["pixels"].show(displayed(batch["images"]))
        found["latents"].show(codec.encode(batch["images"], batch["labels"] if flow.config.conditional else None))
    shown = [samples[:, np.newaxis]]
    for neighbours in found.values():
        numbers = neighbours.indices[:count]
        pictures = _pictures(source, codec, set(numbers.ravel().tolist()))
        shown.append(np.stack([[pictures[number] for number in row] for row in numbers.tolist()]))
    columns = ["sample", *(f"{space} {i + 1}" for space in ("pixels", "latents") for i in range(k))]
    pictures = displayed(np.concatenate(shown, axis=1))
    save_picture(labelled_grid(pictures, columns=columns, scale=FLAGS.scale), output)
    searched = count_of(data_flags.image_count(source, "train"), "training image")
    print(f"root mean square distance to the nearest of {searched}, median")
    for space, neighbours in found.items():
        sampled, real = np.split(neighbours.distances[:, 0], [count])
        print(f"  in {space}: samples {np.median(sampled):.3g}, held-out images {np.median(real):.3g}")
    print(output)


def _training_batches(source: Source, codec: Codec):
    batches = split_batches(source, "train", codec.batch_size, data_flags.limit()).as_numpy_iterator()
    return tqdm.tqdm(batches, unit="batch", disable=None)


def _pictures(source: Source, codec: Codec, numbers: set[int]) -> dict[int, np.ndarray]:
    """Returns training images by number, from a second pass, as not all images would fit in memory."""
    found, start = {}, 0
    for batch in _training_batches(source, codec):
        images = batch["images"]
        found |= {number: images[number - start] for number in numbers if start <= number < start + len(images)}
        start += len(images)
        if len(found) == len(numbers):
            break
    blank = np.full(source.image_shape, 255, np.uint8)
    return {number: found.get(number, blank) for number in numbers}


if __name__ == "__main__":
    command.run(main)
