"""Measures the memory and time of a training step against depth.

  glow memory --depths=4,16,64 --image_size=64 --train_batch_size=16 --width=128 --output=memory.png

Each combination is measured in a separate process, as allocators do not shrink. `peak` is the peak memory allocated by
TensorFlow in the steps after the first; on a CPU, this requires oneDNN, and only blocks of at least 256 KB count. Apart
from weights, optimizer state and moving average, it consists of gradients and activations. `process` is the peak memory
of the process.
"""

import os

import numpy as np
import tqdm
from absl import flags

from glow_tf.analysis import plots
from glow_tf.commands import command, common_flags, outputs, startup
from glow_tf.commands.sizes import MODELS, Sizes
from glow_tf.mode import GRADIENTS

FLAGS = flags.FLAGS

common_flags.define("width", "image_size", "train_batch_size", "output", L="Levels of the flow.")
flags.DEFINE_enum("model", "glow", MODELS, "Model family to measure, with uniform dequantization.")
flags.DEFINE_list("depths", ["4", "8", "16", "32"], "Values of K to measure.")
flags.DEFINE_multi_enum("gradient", GRADIENTS, GRADIENTS, "Gradients to measure.")
flags.DEFINE_integer("timed_steps", 3, "Number of steps to time after the first.", lower_bound=1)


def main() -> None:
    """Measures, prints a Markdown table, and draws the plot."""
    output = outputs.picture("memory.png", outputs.PLOTS)
    depths = common_flags.numbers("depths")
    if not depths or any(depth < 1 or depth != int(depth) for depth in depths):
        raise ValueError(f"--depths={','.join(FLAGS.depths)} must be whole numbers of at least 1.")
    depths = [int(depth) for depth in depths]
    if FLAGS.model == "jet":
        common_flags.refuse(["L"], "is for models of several levels; --model=jet has one.")
    gradients = list(dict.fromkeys(FLAGS.gradient))
    size = FLAGS.image_size or 32
    same = {
        "model": FLAGS.model,
        "L": FLAGS.L,
        "width": FLAGS.width,
        "image_size": size,
        "batch_size": FLAGS.train_batch_size,
    }
    # On a CPU, TensorFlow counts memory only with oneDNN, which is off by default on some. Subprocesses inherit it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Raises for invalid sizes before the first process starts.
    Sizes(K=depths[0], **same).config()
    found: dict[tuple[int, str], startup.Start] = {}
    pairs = [(depth, gradient) for gradient in gradients for depth in depths]
    for depth, gradient in tqdm.tqdm(pairs, unit="measurement", disable=None):
        found[depth, gradient] = startup.measure(K=depth, gradient=gradient, steps=FLAGS.timed_steps, **same)
        if found[depth, gradient].peak is None:
            hint = "on a CPU it does with TF_ENABLE_ONEDNN_OPTS=1 in the environment"
            raise ValueError(f"TensorFlow does not tell the memory of this device; {hint}.")
    print("| K | gradient | weights | peak | gradients and activations | process | seconds a step |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for (depth, gradient), start in found.items():
        sizes = map(startup.megabytes, (start.weights, start.peak, start.peak_excluding_weights, start.process))
        print(f"| {depth} | {gradient} | {' | '.join(sizes)} | {start.step:.3f} |")
    if any(start.peak_excluding_weights <= 0 for start in found.values()):
        print("\n-: not counted, in blocks of less than 256 KB.")
    units = {"peak memory": ("peak", 1e6, "MB"), "time": ("step", 1, "seconds a step")}
    panels = {
        panel: {
            gradient: (np.array(depths), np.array([getattr(found[k, gradient], field) / unit for k in depths]))
            for gradient in gradients
        }
        for panel, (field, unit, _) in units.items()
    }
    levels = "" if FLAGS.model == "jet" else f"L={FLAGS.L}, "
    name = "" if FLAGS.model == "glow" else f" of {FLAGS.model}"
    plots.save_lines(
        panels,
        output,
        title=f"A training step{name} at {size}x{size}, batch {FLAGS.train_batch_size}, {levels}width {FLAGS.width}",
        x="K, steps of flow per level",
        y={panel: text for panel, (_, _, text) in units.items()},
        share_y=False,
    )
    print(output)


if __name__ == "__main__":
    command.run(main)
