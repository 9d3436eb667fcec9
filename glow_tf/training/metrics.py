"""Metrics as JSON lines, as TensorBoard events, and in other trackers."""

import contextlib
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from glow_tf.runtime.files import atomic_write
from glow_tf.runtime.text import open_to_write, printable
from glow_tf.training.trackers import TensorBoard, Trackers

METRICS_FILE = "metrics.jsonl"


class MetricsWriter:
    """Writes scalars to `metrics.jsonl`, and scalars and images to `tensorboard/` and to other trackers.

    Each line of `metrics.jsonl` is an object with `step`, `time` (seconds since the epoch), `kind` (`train`, `test` or
    `pipeline`) and the metrics. In TensorBoard and other trackers, names without a slash are prefixed with their kind.
    Lines of steps after `start_step`, left by a run that was stopped, are dropped, as is a truncated last line. Other
    lines that cannot be read are moved to `metrics.jsonl.damaged`. An evaluation that is repeated, as the one at the
    end is each time a run is started again, replaces the line with the same step and number of images.

    Args:
      directory: the model directory.
      start_step: step at which the run begins.
      say: called with a message if lines are moved, or TensorBoard fails.
      trackers: the other trackers, already open; None for none.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        start_step: int = 0,
        say: Callable[[str], None] = lambda line: None,
        *,
        trackers: Trackers | None = None,
    ):
        self._path = directory / METRICS_FILE
        # Places of the evaluations in the file, which is only read again if one of them is repeated.
        self._evaluations: set[tuple[float, str, object]] = set()
        self.go_back(start_step, say)
        self._tensorboard = TensorBoard(directory, say)
        self._trackers = (self._tensorboard, *([trackers] if trackers else []))

    def go_back(self, step: int, say: Callable[[str], None]) -> None:
        """Drops the lines of steps after `step` from `metrics.jsonl`; `say` is called if lines cannot be read."""
        if self._path.exists():
            self._drop_lines(step, say)

    def _drop_lines(self, start_step: int, say: Callable[[str], None]) -> None:
        before = self._path.read_bytes()
        lines = before.splitlines(keepends=True)
        placed = [(line, _place_of(line)) for line in lines]
        kept = [line.strip() + b"\n" for line, place in placed if place and place[0] <= start_step]
        self._evaluations = {place for _, place in placed if place and place[0] <= start_step and place[1] == "test"}
        damaged = [line for line, place in placed if place is None and line.strip() and line.endswith(b"\n")]
        if damaged:
            rest = self._path.with_name(f"{METRICS_FILE}.damaged")
            with rest.open("ab") as file:
                file.writelines(damaged)
            say(f"{self._path} has lines that cannot be read ({len(damaged)}); they are in {rest.name} now.")
        self._replace(before, kept)

    def _drop_evaluation(self, place: tuple[float, str, object]) -> None:
        if place in self._evaluations:
            before = self._path.read_bytes()
            self._replace(before, [line for line in before.splitlines(keepends=True) if _place_of(line) != place])
        self._evaluations.add(place)

    def _replace(self, before: bytes, lines: list[bytes]) -> None:
        after = b"".join(lines)
        if after != before:
            with atomic_write(self._path) as temporary:
                temporary.write_bytes(after)

    def write(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
        """Writes `metrics` of `kind` at `step`; non-finite values are null in JSON, which has no NaN."""
        numbers = {name: float(value) for name, value in metrics.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        if kind == "test":
            self._drop_evaluation((step, kind, numbers.get("images")))
        with open_to_write(self._path, "a") as file:
            file.write(json.dumps({"step": step, "time": round(time.time(), 3), "kind": kind, **finite}) + "\n")
        named = {name if "/" in name else f"{kind}/{name}": value for name, value in numbers.items()}
        for tracker in self._trackers:
            tracker.write(step, named)

    def write_image(self, name: str, step: int, image: np.ndarray) -> None:
        """Writes one image, uint8 [H, W, C]."""
        for tracker in self._trackers:
            tracker.write_image(name, step, image)

    def write_hyperparameters(self, values: Mapping[str, object]) -> None:
        """Writes the settings the run was started with, for TensorBoard's hyperparameter page."""
        self._tensorboard.write_hyperparameters(hyperparameters(values))

    def flush(self) -> None:
        """Makes all events visible to readers."""
        self._tensorboard.flush()


def hyperparameters(values: Mapping[str, object]) -> dict[str, bool | int | float | str]:
    """Returns the settings of a run as numbers and strings."""
    return {name: v if isinstance(v, bool | int | float) else printable(str(v)) for name, v in values.items()}


def read_metrics(directory: pathlib.Path) -> Iterator[dict]:
    """Yields the readable lines of `metrics.jsonl` in a model directory; none if there is no such file."""
    with contextlib.suppress(FileNotFoundError), (directory / METRICS_FILE).open("rb") as file:
        for line in file:
            if _place_of(line):
                yield json.loads(line)


def columns(lines: Iterable[Mapping[str, object]], kind: str) -> dict[str, np.ndarray]:
    """Returns the metrics of a kind by name, float64 [N], in order of steps; NaN where there is no number.

    Of several lines with the same step and number of images, the last one counts, as a run that is started again after
    its end repeats the evaluation of its last step.
    """
    rows = {(line["step"], line.get("images")): line for line in lines if line.get("kind") == kind}
    rows = sorted(rows.values(), key=lambda line: line["step"])
    names = dict.fromkeys(name for line in rows for name in line if name != "kind")
    return {name: np.array([_number(line.get(name)) for line in rows], np.float64) for name in names}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _place_of(line: bytes) -> tuple[float, str, object] | None:
    """Returns the step and kind of a line, and its number of images if any, or None if it cannot be read."""
    try:
        values = json.loads(line)
        return float(values["step"]), str(values.get("kind")), values.get("images")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None
