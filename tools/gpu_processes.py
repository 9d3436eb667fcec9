"""Processes that measure the rows of the GPU benchmark one after the other."""

import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from glow_tf.runtime.cores import cores
from glow_tf.runtime.devices import has_gpu
from tools import gpu_table, peers
from tools.gpu_rows import FASTEST, Row
from tools.throughput import alternate

_REPEATS = 5
# A row is started only if this many seconds are left.
_LEAST_S = 20.0


class Processes:
    """Measures rows, each in a new process, which imports TensorFlow while the previous one computes.

    Args:
      rows: the rows to measure, in order.
      records: records so far, keyed by row name; the caller adds those that `measure` returns.
      smoke: whether the models are tiny.
    """

    def __init__(self, rows: Sequence[Row], records: Mapping[str, Mapping[str, Any]], *, smoke: bool = False):
        self._rows, self._records, self._smoke = list(rows), records, smoke
        self._next: tuple[Row, peers.Worker] | None = None

    def measure(self, row: Row, end: float) -> dict[str, Any]:
        """Measures a row and returns its record: its fields, and either `found`, results by workload, or `error`.

        Args:
          row: the row.
          end: deadline, in seconds on the clock of `time.monotonic`.
        """
        record = dataclasses.asdict(row)
        if end - time.monotonic() < _LEAST_S:
            return {**record, "error": "not measured: the time was up"}
        try:
            if row.kind == "pytorch":
                self._begin_next(row)
                return {**record, **_measure_pytorch(row, end)}
            with self._take(row) as (resolved, worker):
                worker.functions(end - time.monotonic())
                self._begin_next(row)
                found = worker.run("measure", max(1.0, end - time.monotonic()))
                return {**record, "network_precision": resolved.network_precision, "found": found}
        except peers.OutOfMemoryError:
            return {**record, "error": "out of memory"}
        # A process that is killed while it answers leaves invalid JSON.
        except (ChildProcessError, ValueError) as error:
            return {**record, "error": gpu_table.reason(str(error))}

    def close(self) -> None:
        """Ends the process that was started but not used, if any."""
        if self._next:
            with self._next[1]:
                self._next = None

    @contextlib.contextmanager
    def _take(self, row: Row) -> Iterator[tuple[Row, peers.Worker]]:
        begun = self._next if self._next and self._next[0].name == row.name else None
        if begun is None:
            self.close()
            begun = self._begin(row)
        self._next = None
        with begun[1]:
            yield begun

    def _begin_next(self, row: Row) -> None:
        following = self._rows[self._rows.index(row) + 1 :][:1]
        # The peer would use the GPU from its start, and the fastest precision is not known yet.
        if following and following[0].kind != "pytorch" and following[0].network_precision != FASTEST:
            self._next = self._begin(following[0])

    def _begin(self, row: Row) -> tuple[Row, peers.Worker]:
        row = dataclasses.replace(row, network_precision=self._resolved(row))
        arguments = {"smoke": self._smoke} if row.kind == "products" else {"sizes": row.sizes}
        if row.kind == "train":
            arguments |= {"gradient": row.gradient, "network_precision": row.network_precision, **row.options}
        command = [sys.executable, "-m", "tools.gpu_measure", row.kind, json.dumps(arguments)]
        return row, peers.Worker("the process", command, gpus=True)

    def _resolved(self, row: Row) -> str:
        if row.network_precision != FASTEST:
            return row.network_precision
        beside = [
            record
            for record in gpu_table.trained(self._records, row.sizes)
            if record["gradient"] == "reversible" and not record["options"]
        ]
        fastest = min(beside, key=lambda record: record["found"]["train"]["seconds"], default=None)
        return fastest["network_precision"] if fastest else "bfloat16"


def _measure_pytorch(row: Row, end: float) -> dict[str, Any]:
    absent = peers.missing("pytorch")
    if absent:
        raise ChildProcessError(absent)
    device = "cuda" if has_gpu() else "cpu"
    model = peers.Model(**row.sizes, threads=cores(), device=device, precision=row.network_precision)

    def run(function: Callable[..., Any]) -> Any:
        return function(timeout=max(1.0, end - time.monotonic()))

    with peers.launch("pytorch", model) as worker:
        functions = worker.functions(end - time.monotonic())
        timings = alternate({name: functools.partial(run, functions[name]) for name in row.workloads}, _REPEATS)
        found: dict[str, dict[str, Any]] = {
            name: {
                "seconds": timing.seconds,
                "images_per_second": row.batch_size / timing.seconds,
                "network_precision": row.network_precision,
            }
            for name, timing in timings.items()
        }
        if "memory" in functions:
            run(functions["memory"])
            run(functions["train"])
            found["train"]["peak"] = run(functions["memory"])
        return {"found": found, "note": run(functions["note"]) if "note" in functions else ""}
