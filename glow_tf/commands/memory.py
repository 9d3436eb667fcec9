"""Measures memory and time of a training step against depth.

  glow memory --depths=4,16,64 --image_size=64 --train_batch_size=16 --width=128 --output=memory.png

Every combination is measured in a separate process, as allocators do not shrink. `peak` is the peak memory allocated by
TensorFlow in the steps after the first; on a CPU, only blocks of at least 256 KB count. The part that is not weights,
optimizer or moving average consists of gradients and activations. `process` is the peak memory of the process.
"""

import numpy as np
import tqdm
from absl import flags

from glow_tf.analysis import plots
from glow_tf.commands import command, common_flags, startup
from glow_tf.mode import GRADIENTS

FLAGS = flags.FLAGS

common_flags.define("L", "width", "image_size", "train_batch_size", "output")
flags.DEFINE_list("depths", ["4", "8", "16", "32"], "Values of K to measure.")
flags.DEFINE_multi_enum("gradient", GRADIENTS, GRADIENTS, "Gradients to measure.")
flags.DEFINE_integer("timed_steps", 3, "Number of steps to time after the first.", lower_bound=1)


def main() -> None:
    """Measures, prints a table in Markdown, and draws the plot."""
    depths = [int(depth) for depth in common_flags.numbers("depths")]
    gradients = list(dict.fromkeys(FLAGS.gradient))
    size = FLAGS.image_size or 32
    same = {"L": FLAGS.L, "width": FLAGS.width, "image_size": size, "batch_size": FLAGS.train_batch_size}
    found: dict[tuple[int, str], startup.Start] = {}
    pairs = [(depth, gradient) for gradient in gradients for depth in depths]
    for depth, gradient in tqdm.tqdm(pairs, unit="measurement", disable=None):
        found[depth, gradient] = startup.measure(K=depth, gradient=gradient, steps=FLAGS.timed_steps, **same)
        if found[depth, gradient].peak is None:
            raise ValueError("TensorFlow does not tell the memory of this device.")
    print("| K | gradient | weights | peak | of it gradients and activations | process | seconds a step |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for (depth, gradient), start in found.items():
        sizes = [f"{n / 1e6:,.1f} MB" for n in (start.weights, start.peak, start.peak_excluding_weights, start.process)]
        print(f"| {depth} | {gradient} | {' | '.join(sizes)} | {start.step:.3f} |")
    units = {"peak memory": ("peak", 1e6, "MB"), "time": ("step", 1, "seconds a step")}
    panels = {
        panel: {
            gradient: (np.array(depths), np.array([getattr(found[k, gradient], field) / unit for k in depths]))
            for gradient in gradients
        }
        for panel, (field, unit, _) in units.items()
    }
    output = FLAGS.output or "memory.png"
    plots.save_lines(
        panels,
        output,
        title=f"A training step at {size}x{size}, batch {FLAGS.train_batch_size}, L={FLAGS.L}, width {FLAGS.width}",
        x="K, steps of flow per level",
        y={panel: text for panel, (_, _, text) in units.items()},
        share_y=False,
    )
    print(output)


if __name__ == "__main__":
    command.run(main)
