"""Measures how fast a Glow starts, trains, evaluates and samples, beside its matrix products and other packages.

  python -m tools.benchmark --K=8 --L=3 --width=512 --image_size=32 --train_batch_size=16 --compare --plot=benchmark.png
  python -m tools.benchmark --K=32 --L=6 --width=512 --image_size=256 --train_batch_size=1 --output=benchmark.json

The bound of a pass over a batch is the time of the matrix products in it, each alone at its own shape on all cores, and
`of bound` the share of that speed that is reached; only where cores take a part of the batch each, and products are too
small to be shared, could it be more than 1. `of peak` is beside a large product. Floating-point operations
are those of glow_tf/models/cost.py. All is timed in turn, products too, and shown are medians: nothing else should run.

--compare times the same work by the packages of tools/peers that are installed, on the CPU, in the same rounds; first
`pip install torch normflows FrEIA nflows`, or some of them. Prints tables in Markdown; --output also writes JSON.
"""

import collections
import contextlib
import itertools
import json
import pathlib
import platform
import sys

import tensorflow as tf
from absl import flags

from glow_tf.config import GRADIENTS
from glow_tf.latent import plots
from glow_tf.models import cost, presets
from glow_tf.models.storage import whole
from glow_tf.training.benchmark import PEAK, alternate_with_products, bound, folder_rate
from glow_tf.training.devices import make_strategy
from glow_tf.training.progress import rate_text
from tools import common, fresh, peers

FLAGS = flags.FLAGS

common.define("K", "L", "width", "image_size", "train_batch_size", "output")
flags.DEFINE_integer("repeats", 5, "Times that each thing is timed.", lower_bound=1)
flags.DEFINE_bool("compare", False, "Times other packages in the same rounds.")
flags.DEFINE_list("peers", list(peers.PACKAGES), "Those of --compare.")
flags.DEFINE_bool("start", True, "Measures start, memory and input pipeline too, in processes of their own.")
flags.DEFINE_string("plot", None, "PNG to draw images/s in.")

# By workload, what counts as its matrix products.
_KINDS = {**{f"train, {gradient}": gradient for gradient in GRADIENTS}, "likelihood": "forward", "sample": "forward"}
# What of glow_tf each workload of a peer is beside.
_BESIDE = {"train": ("train, reversible", "train, stored"), "likelihood": ("likelihood",), "sample": ("sample",)}


def main() -> None:
    """Prints the tables, writes the JSON, draws the plot."""
    size, batch = FLAGS.image_size or 32, FLAGS.train_batch_size
    sizes = {"K": FLAGS.K, "L": FLAGS.L, "width": FLAGS.width, "image_size": size}
    config = presets.glow((size, size, 3), FLAGS.K, FLAGS.L, FLAGS.width)
    # Before this process holds memory and threads.
    starts = {g: fresh.measure(**sizes, batch_size=batch, gradient=g) for g in GRADIENTS} if FLAGS.start else {}
    with contextlib.ExitStack() as stack:
        others: dict[str, peers.Functions] = {}
        if FLAGS.compare:
            tf.config.set_visible_devices([], "GPU")
            others, missing = stack.enter_context(peers.start(**sizes, batch_size=batch, names=FLAGS.peers))
            for reason in missing.values():
                print(f"{reason}\n")
        # What main does with cores and GPUs, it does to the whole process.
        command = [sys.executable, "-m", "tools.workloads", json.dumps({**sizes, "batch_size": batch})]
        ours = stack.enter_context(peers.Worker("glow_tf", command, gpus=not FLAGS.compare)).functions()
        counted = {kind: cost.products(config, batch, kind) for kind in cost.PASSES}
        # So that this process leaves the other one some of a GPU's memory.
        make_strategy("one_device")
        theirs = {f"{name}: {workload}": f for name, work in others.items() for workload, f in work.items()}
        functions = {**ours, **theirs}
        products = {PEAK, *itertools.chain(*counted.values())}
        seconds, alone = alternate_with_products(functions, products, FLAGS.repeats)
    results = _beside_products(batch, seconds, counted, alone)
    compared = {name: _beside_ours(name, batch, seconds, others[name]) for name in others}
    content = {
        **sizes,
        "train_batch_size": batch,
        "processor": platform.processor() or platform.machine(),
        "tensorflow": tf.__version__,
        "results": results,
        "peers": compared,
        "start": {name: {**vars(start), "above": start.above} for name, start in starts.items()},
    }
    _print_results(results)
    if compared:
        _print_compared(compared)
    if starts:
        _print_starts(starts)
        content["pipeline_images_per_second"] = rate = folder_rate(size, batch)
        print(f"\nInput pipeline by itself, a folder of JPEG files: {rate_text(rate)} images/s")
    if FLAGS.output:
        with whole(FLAGS.output) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
        print(pathlib.Path(FLAGS.output))
    if FLAGS.plot:
        _draw(content, FLAGS.plot)
        print(pathlib.Path(FLAGS.plot))


def _beside_products(
    batch: int,
    seconds: dict[str, float],
    counted: dict[str, collections.Counter[cost.Product]],
    alone: dict[cost.Product, float],
) -> dict[str, dict[str, float]]:
    """For each workload of glow_tf its seconds, images/s, operations/s, and their shares of peak and bound."""
    peak = PEAK.flops / alone[PEAK]
    rows = {}
    for name, kind in _KINDS.items():
        per_second = cost.flops(counted[kind]) / seconds[name]
        rows[name] = {
            "seconds": seconds[name],
            "images_per_second": batch / seconds[name],
            "flops_per_second": per_second,
            "of_peak": per_second / peak,
            "of_bound": bound(counted[kind], alone) / seconds[name],
        }
    return rows


def _beside_ours(name: str, batch: int, seconds: dict[str, float], workloads: peers.Functions) -> dict[str, object]:
    """A package's version, and for each workload its images/s and how many times as fast glow_tf is."""
    row: dict[str, object] = {"version": peers.version(name)}
    for workload in workloads:
        theirs = seconds[f"{name}: {workload}"]
        ratios = {ours: theirs / seconds[ours] for ours in _BESIDE[workload]}
        row[workload] = {"images_per_second": batch / theirs, "glow_tf_is_faster_by": ratios}
    return row


def _print_results(rows: dict[str, dict[str, float]]) -> None:
    print("| | seconds | images/s | GFLOP/s | of peak | of bound |\n|---|---:|---:|---:|---:|---:|")
    for name, row in rows.items():
        numbers = f"{row['seconds']:.4f} | {rate_text(row['images_per_second'])} | {row['flops_per_second'] / 1e9:,.0f}"
        print(f"| {name} | {numbers} | {row['of_peak']:.0%} | {row['of_bound']:.0%} |")


def _print_compared(rows: dict[str, dict[str, object]]) -> None:
    titles = [
        f"{workload}, images/s | {' | '.join(f'glow_tf, {o}' for o in ours)}" for workload, ours in _BESIDE.items()
    ]
    print(f"\n| package | {' | '.join(titles)} |\n|---|{'---:|' * (len(_BESIDE) + len(_KINDS))}")
    for name, row in rows.items():
        cells = []
        for workload, ours in _BESIDE.items():
            found = row.get(workload)
            cells.append(rate_text(found["images_per_second"]) if found else "-")
            cells += [f"{found['glow_tf_is_faster_by'][o]:.2f} times" if found else "-" for o in ours]
        print(f"| {name} ({row['version']}) | {' | '.join(cells)} |")


def _print_starts(starts: dict[str, fresh.Start]) -> None:
    print(
        "\n| gradient | import TensorFlow, TFP | import glow_tf | build | trace, compile | before the first step |"
        " weights | peak | of it gradients and activations |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name, start in starts.items():
        times = (start.import_libraries, start.import_package, start.build, start.trace, start.before_first_step)
        numbers = [f"{t:.1f} s" for t in times]
        numbers += [f"{n / 1e6:,.0f} MB" for n in (start.weights, start.peak, start.above)]
        print(f"| {name} | {' | '.join(numbers)} |")


def _draw(content: dict, path: str) -> None:
    panels: dict[str, dict[str, float]] = {"train": {}, "likelihood": {}, "sample": {}}
    for name, row in content["results"].items():
        panel, _, gradient = name.partition(", ")
        panels[panel][f"glow_tf, {gradient}" if gradient else "glow_tf"] = row["images_per_second"]
    for name, row in content["peers"].items():
        for panel in set(panels) & set(row):
            panels[panel][name] = row[panel]["images_per_second"]
    plots.save_bars(
        {f"{panel}, images/s": bars for panel, bars in panels.items()},
        path,
        title="Glow, {image_size}x{image_size}, batch {train_batch_size}, K={K}, L={L}, width {width}".format(
            **content
        ),
        highlighted=("glow_tf", *(f"glow_tf, {gradient}" for gradient in GRADIENTS)),
    )


if __name__ == "__main__":
    common.run(main)
