"""Measures how fast a Glow is trained, evaluated and sampled, beside the matrix products in it.

  python -m tools.benchmark --K=8 --L=3 --width=512 --image_size=32 --train_batch_size=16
  python -m tools.benchmark --K=32 --L=6 --width=512 --image_size=256 --train_batch_size=1 --output=benchmark.json

A pass over a batch cannot be faster than the matrix products in it, each timed alone at its own shape: that is the
bound, and `of bound` the share of it that is reached. `of peak` is beside a large product. Floating-point operations
are those of glow_tf/models/cost.py. Everything is timed in turn, and shown are medians: nothing else should run. Prints
a table in Markdown; --output also writes JSON.
"""

import collections
import json
import pathlib
import platform

import tensorflow as tf
from absl import flags

from glow_tf.config import GRADIENTS
from glow_tf.models import cost, presets
from glow_tf.models.storage import whole
from glow_tf.training.benchmark import alternate, bound, matmul_peak, time_products, workloads
from glow_tf.training.devices import make_strategy
from glow_tf.training.progress import rate_text
from tools import common

FLAGS = flags.FLAGS

common.define("K", "L", "width", "image_size", "train_batch_size", "output")
flags.DEFINE_integer("repeats", 5, "Times that each thing is timed.", lower_bound=1)


def main() -> None:
    """Prints the table, and writes the JSON."""
    rows = _measure()
    print("| | seconds | images/s | GFLOP/s | of peak | of bound |\n|---|---:|---:|---:|---:|---:|")
    for name, row in rows.items():
        numbers = f"{row['seconds']:.4f} | {rate_text(row['images_per_second'])} | {row['flops_per_second'] / 1e9:,.0f}"
        print(f"| {name} | {numbers} | {row['of_peak']:.0%} | {row['of_bound']:.0%} |")
    if FLAGS.output:
        same = {name: FLAGS[name].value for name in ("K", "L", "width", "train_batch_size")}
        machine = {"processor": platform.processor() or platform.machine(), "tensorflow": tf.__version__}
        with whole(FLAGS.output) as temporary:
            content = {**same, "image_size": FLAGS.image_size or 32, **machine, "results": rows}
            temporary.write_text(json.dumps(content, indent=2) + "\n")
        print(pathlib.Path(FLAGS.output))


def _measure() -> dict[str, dict[str, float]]:
    """For each workload its seconds, images/s, operations/s, and their shares of peak and bound."""
    size, batch = FLAGS.image_size or 32, FLAGS.train_batch_size
    functions, kinds = {}, {}
    for gradient in GRADIENTS:
        config = presets.glow((size, size, 3), FLAGS.K, FLAGS.L, FLAGS.width, gradient=gradient)
        found = workloads(config, batch, make_strategy("mirrored"))
        functions[f"train, {gradient}"], kinds[f"train, {gradient}"] = found.pop("train"), gradient
        if gradient == GRADIENTS[0]:
            functions.update(found)
            kinds.update(dict.fromkeys(found, "forward"))
    counted = {kind: cost.products(config, batch, kind) for kind in cost.PASSES}
    seconds = alternate(functions, FLAGS.repeats)
    alone = time_products(sum(counted.values(), collections.Counter()), FLAGS.repeats)
    peak = matmul_peak(FLAGS.repeats)
    rows = {}
    for name, kind in kinds.items():
        per_second = cost.flops(counted[kind]) / seconds[name]
        rows[name] = {
            "seconds": seconds[name],
            "images_per_second": batch / seconds[name],
            "flops_per_second": per_second,
            "of_peak": per_second / peak,
            "of_bound": bound(counted[kind], alone) / seconds[name],
        }
    return rows


if __name__ == "__main__":
    common.run(main)
