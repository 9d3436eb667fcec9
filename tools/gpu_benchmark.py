"""Measures training, sampling and memory on one NVIDIA GPU, against matrix products and a Glow in PyTorch.

  python -m tools.gpu_benchmark
  python -m tools.gpu_benchmark --rows=memory,options --resume
  python -m tools.gpu_benchmark --rows=PyTorch,bfloat16 --output=bfloat16.json --plot=

Prints a table in Markdown, row by row as they are measured, the most important first; docs/gpu.json is written after
each row, docs/gpu.png at the end. Every row is measured in a separate process, so that lack of memory or time affects
only that row, which then states the reason. Seconds are the median of up to five calls after the first; `compile` is
the additional time of the first call. `peak` is the peak memory of later training steps, and `above` the part of it
that is not weights, optimizer or moving average. `of products` is the achieved fraction of the speed of a large matrix
product in the same precision; a float32 product may be computed as three in TF32, which is faster. With --smoke, the
files are runs/gpu_smoke.json and runs/gpu_smoke.png.

The groups of --rows: `throughput`, 32x32 images and the peer, if PyTorch is installed; `large`, 256x256; `options`, the
effects of XLA, TensorFlow's layout optimizer and determinism; `memory`, 256x256 at several depths. Rows without a
precision in their name train in float32, those of `options` in TF32, and those with stored activations in the fastest
precision. Run again with --resume to measure the rows for which there was not enough time.
"""

import contextlib
import json
import pathlib
import time
from typing import Any

from absl import flags

from glow_tf.commands import command, common_flags, outputs
from glow_tf.runtime import text
from glow_tf.runtime.devices import has_gpu
from glow_tf.runtime.files import atomic_write
from tools import gpu_rows, gpu_table, hardware
from tools.gpu_processes import Processes

FLAGS = flags.FLAGS

common_flags.define("output")
flags.DEFINE_list("rows", list(gpu_rows.GROUPS), "Groups of rows, or words in the names of rows; by default all.")
flags.DEFINE_float("minutes", 7.5, "Minutes after which no row is started, and the running one is stopped.", 0.0)
flags.DEFINE_float("row_minutes", 2.5, "Most minutes for a row.", 0.0)
flags.DEFINE_bool(
    "resume", False, "Keeps the rows of --output that were measured on the same GPU, and measures the others."
)
flags.DEFINE_bool("smoke", False, "Measures tiny models, on the CPU if there is no GPU, to check that everything runs.")
flags.DEFINE_string(
    "plot", None, "PNG to draw; '' for none. By default docs/gpu.png, or runs/gpu_smoke.png with --smoke."
)


def main() -> None:
    """Measures the rows, prints the table, and writes JSON and plot."""
    if not has_gpu() and not FLAGS.smoke:
        raise ValueError("TensorFlow sees no GPU here; --smoke runs the same with tiny models on the CPU.")
    wanted = gpu_rows.chosen(gpu_rows.rows(smoke=FLAGS.smoke), FLAGS.rows)
    # Figures of tiny models must not replace measured ones.
    default = "runs/gpu_smoke" if FLAGS.smoke else "docs/gpu"
    path, plot = pathlib.Path(FLAGS.output or f"{default}.json"), f"{default}.png" if FLAGS.plot is None else FLAGS.plot
    outputs.suffix_of(str(path), (".json",))
    if plot:
        outputs.suffix_of(plot, outputs.PLOTS, flag="plot")
    machine = hardware.describe()
    print(f"{hardware.sentence(machine)}\n\n{gpu_table.HEAD}", flush=True)
    records = _kept(path, machine) if FLAGS.resume else {}
    deadline = time.monotonic() + 60 * FLAGS.minutes
    to_measure = [row for row in wanted if row.name not in records]
    with contextlib.closing(Processes(to_measure, records, smoke=FLAGS.smoke)) as processes:
        for row in wanted:
            if row.name not in records:
                end = min(deadline, time.monotonic() + 60 * FLAGS.row_minutes)
                records[row.name] = processes.measure(row, end)
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(path) as temporary:
                    content = {"machine": machine, "smoke": FLAGS.smoke, "rows": records}
                    text.write(temporary, json.dumps(content, indent=2) + "\n")
            print("\n".join(gpu_table.lines(row.name, records)), flush=True)
    if not any("found" in record for record in records.values()):
        raise ValueError("No row could be measured.")
    print(f"\n{path}")
    if plot and gpu_table.draw(records, machine, plot):
        print(pathlib.Path(plot))


def _kept(path: pathlib.Path, machine: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Returns the successful rows of an earlier run. Raises ValueError if the GPU or --smoke was another."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    # Products have the same name in both.
    if content.get("smoke", False) != FLAGS.smoke:
        was = "without" if FLAGS.smoke else "with"
        raise ValueError(f"{path} was measured {was} --smoke; write to another --output.")
    if content["machine"].get("gpu") != machine.get("gpu"):
        raise ValueError(f"{path} was measured on {hardware.sentence(content['machine'])}; write to another --output.")
    return {name: record for name, record in content["rows"].items() if "found" in record}


if __name__ == "__main__":
    command.run(main)
