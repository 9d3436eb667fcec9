"""Metrics as JSON lines and TensorBoard events."""

import json
import math
import pathlib
import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from glow_tf.models.storage import whole


class MetricsWriter:
    """Writes scalars to `metrics.jsonl` and `tensorboard/`, images to the latter.

    Each line of `metrics.jsonl` is an object with `step`, `time` (seconds since the epoch), `kind` (`train`, `test` or
    `pipeline`) and the metrics; a name with a slash stands in TensorBoard as it is, others after their kind. Lines of
    steps after `start_step`, written by a run that was stopped, are dropped.

    Args:
      directory: the model directory.
      start_step: the step the run begins at.
      evaluates_again: whether that step will be evaluated once more: the last one is, whenever a run is started.
    """

    def __init__(self, directory: pathlib.Path, start_step: int = 0, *, evaluates_again: bool = False):
        self._path = directory / "metrics.jsonl"
        if self._path.exists():
            lines = self._path.read_text().splitlines()
            again = (start_step, "test") if evaluates_again else None
            places = [_place_of(line) for line in lines]
            kept = [line for line, p in zip(lines, places, strict=True) if p[0] <= start_step and p != again]
            if len(kept) < len(lines):
                with whole(self._path) as temporary:
                    temporary.write_text("".join(f"{line}\n" for line in kept))
        self._events = tf.summary.create_file_writer(str(directory / "tensorboard"))

    def write(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
        """Writes `metrics` of `kind` at `step`; what is not finite is null in JSON, which knows no NaN."""
        numbers = {name: float(value) for name, value in metrics.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "time": round(time.time(), 3), "kind": kind, **finite}) + "\n")
        with self._events.as_default(step=step):
            for name, value in numbers.items():
                tf.summary.scalar(name if "/" in name else f"{kind}/{name}", value)

    def write_image(self, name: str, step: int, image: np.ndarray) -> None:
        """Writes one image, uint8 [H, W, C]."""
        with self._events.as_default(step=step):
            tf.summary.image(name, image[np.newaxis])

    def write_hyperparameters(self, values: Mapping[str, object]) -> None:
        """Writes what the run was started with, for TensorBoard's page of hyperparameters."""
        allowed = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in values.items()}
        with self._events.as_default(step=0):
            hparams.hparams(allowed)

    def flush(self) -> None:
        """Makes all events visible to readers."""
        self._events.flush()


def _place_of(line: str) -> tuple[float, str]:
    """Step and kind of a line; a step that never comes for one that is not whole."""
    try:
        values = json.loads(line)
        return float(values["step"]), str(values.get("kind"))
    except (KeyError, TypeError, ValueError, AttributeError):
        return math.inf, ""
