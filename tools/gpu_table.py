"""Markdown table and plot of the GPU benchmark."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from glow_tf.training.progress import rate_text
from tools.bars import save_bars
from tools.benchmark_tables import bytes_text

_COLUMNS = (
    "precision",
    "seconds",
    "images/s",
    "TFLOP/s",
    "of products",
    "peak",
    "above",
    "compile",
    "glow_tf is faster by",
)
HEAD = f"| | {' | '.join(_COLUMNS)} |\n|---|---|{'---:|' * (len(_COLUMNS) - 1)}"

_LONGEST_REASON = 160

# By row name: the fields of `tools.gpu_rows.Row`, and either `found`, results by workload, or `error`.
Records = Mapping[str, Mapping[str, Any]]


def lines(name: str, records: Records) -> list[str]:
    """Formats a row as one line per workload, or as one line with the reason if it failed."""
    record = records[name]
    if "error" in record:
        return [f"| {name} | {record['network_precision']} | {record['error']} |{' |' * (len(_COLUMNS) - 2)}"]
    shown = []
    for workload, found in record["found"].items():
        # The precision of a product is in its own column.
        title = name if workload == "train" or record["kind"] == "products" else f"{name}, {workload}"
        if record.get("note"):
            title += f" ({_note_of(record['note'], workload)})"
        shown.append(f"| {title} | {' | '.join(_cells(record, workload, found, records))} |")
    return shown


def trained(records: Records, sizes: Mapping[str, int]) -> list[Mapping[str, Any]]:
    """Returns the records of glow_tf's training with these sizes."""
    return [r for r in records.values() if r["kind"] == "train" and r["sizes"] == sizes and "found" in r]


def reason(error: str) -> str:
    """Shortens the reason why a row failed, to fit a table cell."""
    text = " ".join(error.split()).replace("|", "/")
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


def draw(records: Records, machine: Mapping[str, str], path: str | os.PathLike) -> bool:
    """Draws images/s of each batch size, and the peak memory of training excluding weights and optimizer.

    Returns:
      Whether there was anything to draw.
    """
    panels: dict[str, dict[str, float]] = {}
    ours = set()
    for record in records.values():
        found = record.get("found", {}).get("train")
        if not found:
            continue
        if record["group"] == "throughput":
            panel = f"{_size(record)}, batch {record['sizes']['batch_size']}, images/s"
            kind = "PyTorch" if record["kind"] == "pytorch" else record["gradient"]
            bar = f"{kind}, {found['network_precision']}"
            panels.setdefault(panel, {})[bar] = found["images_per_second"]
            ours |= {bar} if record["kind"] == "train" else set()
        elif record["group"] in ("large", "memory") and found.get("peak_excluding_weights") is not None:
            images = record["sizes"]["batch_size"]
            bar = f"K={record['sizes']['K']}, {images} image{'s' if images > 1 else ''}"
            panels.setdefault(f"{_size(record)}, GB above weights", {})[bar] = found["peak_excluding_weights"] / 1e9
            ours.add(bar)
    if panels:
        title = f"Training a Glow on {machine.get('gpu', machine['processor'])}"
        save_bars(panels, path, title=title, highlighted=ours)
    return bool(panels)


def _cells(record: Mapping[str, Any], workload: str, found: Mapping[str, Any], records: Records) -> Iterable[str]:
    per_second = found.get("flops_per_second")
    precision = found["network_precision"]
    product = [
        r["found"][precision]["flops_per_second"]
        for r in records.values()
        if r["kind"] == "products" and precision in r.get("found", {})
    ]
    yield precision
    yield f"{found['seconds']:.4f}"
    yield rate_text(found["images_per_second"]) if "images_per_second" in found else "-"
    yield "-" if per_second is None else f"{per_second / 1e12:.3g}"
    yield f"{per_second / product[0]:.0%}" if per_second is not None and product else "-"
    yield bytes_text(found.get("peak"))
    yield bytes_text(found.get("peak_excluding_weights"))
    yield f"{found['compile_seconds']:.1f} s" if "compile_seconds" in found else "-"
    yield _ratios(record, workload, found, records) if record["kind"] == "pytorch" else "-"


def _ratios(record: Mapping[str, Any], workload: str, found: Mapping[str, Any], records: Records) -> str:
    """Formats the speed-ups of glow_tf: training in the same precision, other workloads with glow_tf in float32."""
    if workload != "train":
        ours = {
            r["found"][workload]["network_precision"]: r["found"][workload]
            for r in records.values()
            if r["kind"] == "passes" and r["sizes"] == record["sizes"] and "found" in r
        }
    else:
        ours = {
            r["gradient"]: r["found"]["train"]
            for r in trained(records, record["sizes"])
            if not r["options"] and r["found"]["train"]["network_precision"] == found["network_precision"]
        }
    return ", ".join(f"{found['seconds'] / our['seconds']:.2f} ({name})" for name, our in ours.items()) or "-"


def _note_of(note: str, workload: str) -> str:
    """Returns the part of "train: compiled, 1 s; eager 2 s / sample: ..." about one workload."""
    told = dict(part.split(": ", 1) for part in note.split(" / ") if ": " in part)
    return reason(told.get(workload, note))


def _size(record: Mapping[str, Any]) -> str:
    return "{image_size}x{image_size}".format(**record["sizes"])
