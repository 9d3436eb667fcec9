"""Measures peak memory and time of a training step against depth, for both gradients, and plots them.

  python -m tools.memory --depths=4,16,64 --image_size=64 --train_batch_size=16 --width=128 --output=memory.png

Every combination is measured in a process of its own, as an allocator that has grown does not shrink. Shown is the most
that TensorFlow's allocator had handed out in the first step: weights, gradients, optimizer and activations. On a CPU it
counts blocks of 256 KB and more.
"""

import json
import subprocess
import sys

import numpy as np
import tqdm
from absl import flags

from glow_tf.config import GRADIENTS
from glow_tf.latent import plots
from glow_tf.models import presets
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import make_strategy
from glow_tf.training.timing import StepTiming, time_steps
from tools import common

FLAGS = flags.FLAGS

common.define("L", "width", "image_size", "train_batch_size", "output")
flags.DEFINE_list("depths", ["4", "8", "16", "32"], "Values of K to measure.")
flags.DEFINE_multi_enum("gradient", GRADIENTS, GRADIENTS, "Gradients to measure.")
flags.DEFINE_integer("timed_steps", 3, "Steps that are timed after the first.", lower_bound=1)
flags.DEFINE_bool("measure", False, "Measures one depth and one gradient in this process, and prints them as JSON.")


def main() -> None:
    """Measures, prints a table in Markdown, and draws the plot."""
    depths = [int(depth) for depth in common.numbers("depths")]
    if FLAGS.measure:
        print(json.dumps(vars(_measure(depths[0], FLAGS.gradient[0]))))
        return
    pairs = [(depth, gradient) for gradient in dict.fromkeys(FLAGS.gradient) for depth in depths]
    found = {}
    for depth, gradient in tqdm.tqdm(pairs, unit="measurement", disable=None):
        found[depth, gradient] = _measure_apart(depth, gradient)
    lines = ["| K | gradient | weights | peak | seconds a step |", "|---:|---|---:|---:|---:|"]
    for (depth, gradient), timing in found.items():
        numbers = f"{timing.weights / 1e6:,.1f} MB | {timing.peak / 1e6:,.1f} MB | {timing.step:.3f}"
        lines.append(f"| {depth} | {gradient} | {numbers} |")
    print("\n".join(lines))
    units = {"peak memory": ("peak", 1e6, "MB"), "time": ("step", 1, "seconds a step")}
    panels = {
        panel: {
            gradient: (np.array(depths), np.array([getattr(found[k, gradient], field) / unit for k in depths]))
            for gradient in dict.fromkeys(FLAGS.gradient)
        }
        for panel, (field, unit, _) in units.items()
    }
    size = FLAGS.image_size or 32
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


def _measure(depth: int, gradient: str) -> StepTiming:
    size = FLAGS.image_size or 32
    config = presets.glow((size, size, 3), depth, FLAGS.L, FLAGS.width, gradient=gradient)
    training = TrainingConfig(batch_size=FLAGS.train_batch_size)
    timing = time_steps(config, training, make_strategy("mirrored"), steps=FLAGS.timed_steps)
    if timing.peak is None:
        raise ValueError("TensorFlow does not tell the memory of this device.")
    return timing


def _measure_apart(depth: int, gradient: str) -> StepTiming:
    same = {name: FLAGS[name].value for name in ("L", "image_size", "train_batch_size", "width", "timed_steps")}
    arguments = [f"--{name}={value}" for name, value in same.items() if value is not None]
    command = [sys.executable, "-m", "tools.memory", "--measure", f"--depths={depth}", f"--gradient={gradient}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"K={depth}, {gradient}, could not be measured: {(done.stderr.splitlines() or ['?'])[-1]}")
    return StepTiming(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    common.run(main)
