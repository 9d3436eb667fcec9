"""Measures the speed of start-up, training, evaluation and sampling of a Glow, against other packages.

  python -m tools.benchmark --K=8 --L=3 --width=512 --image_size=32 --train_batch_size=16 --compare --plot=benchmark.png
  python -m tools.benchmark --K=32 --L=6 --width=512 --image_size=256 --train_batch_size=1 --output=benchmark.json

It uses the first GPU, or the CPU if there is none. The bound of a pass over a batch is the time of its matrix products,
each measured alone at its own shape on the whole device in the precision of the coupling networks. `of bound` is the
achieved fraction of that speed, `of peak` the achieved fraction of a large product's speed. `of bound` can exceed 1 if
products are small, as CPU cores process parts of the batch in parallel and a GPU computes a small product faster than
TensorFlow launches it; and in float32 on a GPU, where a product may be computed as three in TF32, which is faster.
Floating-point operations are counted by tools/cost.py. Workloads and products are timed alternately, and medians are
shown; nothing else should run on the machine.

`compile` is the additional time of the first call; XLA's cache is not used. `memory`, if TensorFlow reports it, is the
peak of a call excluding weights, optimizer, moving average and the batch.

--compare times the same work in the installed packages of tools/peers, alternately on the same device; install them, or
some of them, with `pip install torch normflows FrEIA nflows`. On a GPU they compute in TF32 and are compared with
training in TF32; `pytorch` is compiled if that is faster, and is also measured in bfloat16. glow_tf's likelihood and
samples are always in float32. Prints tables in Markdown; --output also writes JSON.
"""

import collections
import contextlib
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from glow_tf.arguments import one_of
from glow_tf.commands import command, common_flags, outputs, startup
from glow_tf.mode import NETWORK_PRECISIONS
from glow_tf.models import presets
from glow_tf.runtime import text
from glow_tf.runtime.devices import has_gpu
from glow_tf.runtime.files import atomic_write
from glow_tf.shared_flags import define_path
from glow_tf.training.devices import make_strategy
from glow_tf.training.progress import rate_text
from tools import benchmark_tables, cost, hardware, peers
from tools.throughput import (
    Precise,
    Timing,
    alternate_with_products,
    bound,
    folder_rate,
    peak_product,
)
from tools.workloads import training_names

FLAGS = flags.FLAGS

common_flags.define("K", "L", "width", "image_size", "train_batch_size", "output")
flags.DEFINE_list(
    "network_precision",
    None,
    "What the coupling networks train in, one row for each: float32, tf32, bfloat16. By default all on a GPU, and "
    "float32 on a CPU.",
)
flags.DEFINE_integer("repeats", 5, "Number of timings of each workload.", lower_bound=1)
flags.DEFINE_bool("compare", False, "Times other packages in the same rounds.")
flags.DEFINE_list("peers", list(peers.PACKAGES), "Packages for --compare.")
flags.DEFINE_bool("start", True, "Also measures start-up, memory and input pipeline, in separate processes.")
define_path("plot", None, "PNG to draw images/s in.")


@dataclasses.dataclass(frozen=True)
class _Row:
    """A workload of glow_tf: the kind of its matrix products, one of `cost.PASSES`, and their precision."""

    kind: str
    precision: str = "float32"


def main() -> None:
    """Prints the tables, writes the JSON and draws the plot."""
    if FLAGS.output:
        outputs.suffix_of(FLAGS.output, (".json",))
    if FLAGS.plot:
        outputs.suffix_of(FLAGS.plot, outputs.PLOTS, flag="plot")
    size, batch = FLAGS.image_size or 32, FLAGS.train_batch_size
    sizes = {"K": FLAGS.K, "L": FLAGS.L, "width": FLAGS.width, "image_size": size}
    config = presets.glow((size, size, 3), FLAGS.K, FLAGS.L, FLAGS.width)
    precisions = _network_precisions()
    machine = hardware.describe()
    print(f"{hardware.sentence(machine)}\n")
    trained = training_names(precisions)
    # Measured before this process allocates memory and starts threads.
    starts = {
        name.removeprefix("train, "): startup.measure(
            **sizes, batch_size=batch, gradient=gradient, network_precision=precision
        )
        for name, (gradient, precision) in (trained.items() if FLAGS.start else ())
    }
    rows = {name: _Row(*gradient_and_precision) for name, gradient_and_precision in trained.items()}
    rows |= {name: _Row("forward") for name in ("likelihood", "sample")}
    counted = {kind: cost.products(config, batch, kind) for kind in cost.PASSES}
    products = {(peak_product(), row.precision) for row in rows.values()}
    products |= {(product, row.precision) for row in rows.values() for product in counted[row.kind]}
    measured = _measure({**sizes, "batch_size": batch}, precisions, products)
    results = {
        name: {
            "network_precision": row.precision,
            **_beside_products(
                batch, measured.timings["glow_tf", name], counted[row.kind], row.precision, measured.alone
            ),
            **({"memory": measured.memory["glow_tf", name]} if ("glow_tf", name) in measured.memory else {}),
        }
        for name, row in rows.items()
    }
    compared = {name: _beside_ours(name, batch, measured, trained) for name in measured.notes}
    content = {
        **sizes,
        "train_batch_size": batch,
        **machine,
        "results": results,
        "peers": compared,
        "start": {name: vars(start) for name, start in starts.items()},
    }
    benchmark_tables.print_results(results)
    if compared:
        benchmark_tables.print_compared(compared)
    if starts:
        benchmark_tables.print_starts(starts)
        content["pipeline_images_per_second"] = rate = folder_rate(size, batch)
        print(f"\nInput pipeline alone, a folder of JPEG files: {rate_text(rate)} images/s")
    if FLAGS.output:
        with atomic_write(FLAGS.output) as temporary:
            text.write(temporary, json.dumps(content, indent=2) + "\n")
        print(pathlib.Path(FLAGS.output))
    if FLAGS.plot:
        benchmark_tables.draw(content, FLAGS.plot)
        print(pathlib.Path(FLAGS.plot))


@dataclasses.dataclass(frozen=True)
class _Measured:
    """Measurements of all rounds; a workload is a pair (package, name).

    Attributes:
      timings: timing of each workload.
      alone: seconds of each product on its own.
      memory: peak memory of each workload, in bytes, excluding weights, optimizer and so on, if known.
      notes: note of each peer, or ''.
    """

    timings: Mapping[tuple[str, str], Timing]
    alone: Mapping[Precise, float]
    memory: Mapping[tuple[str, str], int]
    notes: Mapping[str, str]


def _network_precisions() -> list[str]:
    found = FLAGS.network_precision or (NETWORK_PRECISIONS if has_gpu() else ["float32"])
    for precision in found:
        one_of("network_precision", precision, NETWORK_PRECISIONS)
    return list(dict.fromkeys(found))


def _measure(sizes: dict[str, int], precisions: Sequence[str], products: Iterable[Precise]) -> _Measured:
    """Times glow_tf, its peers and the products."""
    with contextlib.ExitStack() as stack:
        packages: dict[str, peers.Functions] = {}
        if FLAGS.compare:
            started, missing = stack.enter_context(peers.start(**sizes, gpu=has_gpu(), names=FLAGS.peers))
            packages.update(started)
            for reason in missing.values():
                print(f"{reason}\n")
        # In a separate process, as training configures cores and GPUs of the whole process.
        arguments = json.dumps({"sizes": sizes, "network_precisions": precisions})
        command_line = [sys.executable, "-m", "tools.workloads", arguments]
        packages["glow_tf"] = stack.enter_context(peers.Worker("glow_tf", command_line, gpus=True)).functions()
        # Leaves GPU memory to the other processes.
        make_strategy("one_device")
        workloads = {
            (package, name): function
            for package, functions in packages.items()
            for name, function in functions.items()
            if name not in peers.REPORTS
        }
        timings, alone = alternate_with_products(workloads, products, FLAGS.repeats)
        memory = {
            (package, name): _memory(function, packages[package]["memory"])
            for (package, name), function in workloads.items()
            if "memory" in packages[package]
        }
        notes = {p: functions["note"]() if "note" in functions else "" for p, functions in packages.items()}
    return _Measured(timings, alone, memory, {name: note for name, note in notes.items() if name != "glow_tf"})


def _memory(function: Callable[[], object], peak: Callable[[], int]) -> int:
    """Measures the peak memory of a call in bytes, excluding the memory in use before it."""
    peak()
    in_use = peak()
    function()
    return peak() - in_use


def _beside_products(
    batch: int,
    timing: Timing,
    counted: collections.Counter[cost.Product],
    precision: str,
    alone: Mapping[Precise, float],
) -> dict[str, float]:
    """Returns seconds, images/s and operations/s of a workload, and its fractions of peak and bound."""
    seconds = {product: alone[product, precision] for product in (*counted, peak_product())}
    per_second = cost.flops(counted) / timing.seconds
    return {
        "seconds": timing.seconds,
        "compile_seconds": timing.compile,
        "images_per_second": batch / timing.seconds,
        "flops_per_second": per_second,
        "of_peak": per_second * seconds[peak_product()] / peak_product().flops,
        "of_bound": bound(counted, seconds) / timing.seconds,
    }


def _beside_ours(name: str, batch: int, measured: _Measured, trained: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Returns the version of a package, and for each workload its images/s and the speed-up of glow_tf.

    Training is compared with glow_tf's rows in the precision of the package.
    """
    precision = name.partition(", ")[2] or ("tf32" if has_gpu() else "float32")
    row: dict[str, Any] = {"version": peers.version(name), "note": measured.notes[name]}
    for workload in benchmark_tables.BESIDE:
        if (name, workload) not in measured.timings:
            continue
        theirs = measured.timings[name, workload].seconds
        beside = [workload]
        if workload == "train":
            beside = [ours for ours, (_, our_precision) in trained.items() if our_precision == precision]
        row[workload] = {
            "images_per_second": batch / theirs,
            "glow_tf_is_faster_by": {ours: theirs / measured.timings["glow_tf", ours].seconds for ours in beside},
        }
        if (name, workload) in measured.memory:
            row[workload]["memory"] = measured.memory[name, workload]
    return row


if __name__ == "__main__":
    command.run(main)
