"""Markdown tables and plot of the benchmark."""

import os
from collections.abc import Mapping
from typing import Any

from glow_tf.commands import startup
from glow_tf.mode import GRADIENTS
from glow_tf.training.progress import rate_text
from tools.bars import save_bars

# Workloads of glow_tf that each workload of a peer is compared with.
BESIDE = {
    "train": tuple(f"train, {gradient}" for gradient in GRADIENTS),
    "likelihood": ("likelihood",),
    "sample": ("sample",),
}


def print_results(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints a row for each workload of glow_tf."""
    memory = any("memory" in row for row in rows.values())
    columns = ["seconds", "images/s", "GFLOP/s", "of peak", "of bound", "compile", *(["memory"] if memory else [])]
    print(f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, row in rows.items():
        cells = [
            f"{row['seconds']:.4f}",
            rate_text(row["images_per_second"]),
            f"{row['flops_per_second'] / 1e9:,.0f}",
            *(f"{row[share]:.0%}" for share in ("of_peak", "of_bound")),
            f"{row['compile_seconds']:.1f} s",
            *([bytes_text(row.get("memory"))] if memory else []),
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def print_compared(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints a row for each peer, and the peers' notes."""
    memory = any("memory" in row["train"] for row in rows.values() if "train" in row)
    titles = [
        f"{workload}, images/s | {' | '.join(f'glow_tf, {title}' for title in ours)}"
        for workload, ours in BESIDE.items()
    ]
    titles += ["train, memory"] if memory else []
    print(f"\n| package | {' | '.join(titles)} |\n|---|{'---:|' * sum(title.count('|') + 1 for title in titles)}")
    for name, row in rows.items():
        cells = []
        for workload, ours in BESIDE.items():
            found = row.get(workload)
            cells.append(rate_text(found["images_per_second"]) if found else "-")
            ratios = list(found["glow_tf_is_faster_by"].values()) if found else []
            cells += [f"{ratios[i]:.2f} times" if i < len(ratios) else "-" for i in range(len(ours))]
        if memory:
            cells.append(bytes_text(row.get("train", {}).get("memory")))
        print(f"| {name} ({row['version']}) | {' | '.join(cells)} |")
    for name, row in rows.items():
        if row.get("note"):
            print(f"\n{name}: {row['note']}.")


def print_starts(starts: Mapping[str, startup.Start]) -> None:
    """Prints a row for each measured start of training."""
    print(
        "\n| gradient | import TensorFlow, TFP | import glow_tf | build | trace, compile | before the first step |"
        " weights | peak | gradients and activations |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name, start in starts.items():
        times = (start.import_libraries, start.import_package, start.build, start.trace, start.before_first_step)
        numbers = [f"{t:.1f} s" for t in times]
        numbers += [bytes_text(n) for n in (start.weights, start.peak, start.peak_excluding_weights)]
        print(f"| {name} | {' | '.join(numbers)} |")


def draw(content: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Draws images/s of glow_tf and its peers."""
    panels: dict[str, dict[str, float]] = {"train": {}, "likelihood": {}, "sample": {}}
    for name, row in content["results"].items():
        panel, _, kind = name.partition(", ")
        panels[panel][f"glow_tf, {kind}" if kind else "glow_tf"] = row["images_per_second"]
    ours = {name for panel in panels.values() for name in panel}
    for name, row in content["peers"].items():
        for panel in set(panels) & set(row):
            panels[panel][name] = row[panel]["images_per_second"]
    save_bars(
        {f"{panel}, images/s": bars for panel, bars in panels.items()},
        path,
        title="Glow, {image_size}x{image_size}, batch {train_batch_size}, K={K}, L={L}, width {width}".format(
            **content
        ),
        highlighted=ours,
    )


def bytes_text(number: int | None) -> str:
    """Formats a number of bytes for a table: "1,234 MB", or "-" if unknown."""
    return "-" if number is None else f"{number / 1e6:,.0f} MB"
