"""Progress of a run, beyond weights and optimizer."""

import math
from collections.abc import Iterable

import tensorflow as tf


class RunState(tf.Module):
    """Part of every checkpoint.

    Args:
      metrics: the names of what a step reports.

    Attributes:
      step: batches used, those of skipped updates among them: the position in the data.
      skipped: steps that changed nothing, as their loss or gradient was not finite.
      skipped_in_a_row: how many of them were the last ones.
      rollbacks: how often the run went back to a checkpoint for that.
      reported_step: the last step after which all was reported that was to be.
      best_bits_per_dim: the least held-out bits/dim so far; infinite before the first evaluation.
      best_step: the step it is of.
      best_images: the number of images it is of.
      totals: the sums of the metrics since they were last logged, and under `steps` the number of steps they are of.
    """

    def __init__(self, metrics: Iterable[str]):
        super().__init__(name="run_state")
        for name in ("step", "skipped", "skipped_in_a_row", "rollbacks", "reported_step", "best_step", "best_images"):
            setattr(self, name, _variable(0, tf.int64, name))
        self.best_bits_per_dim = _variable(math.inf, tf.float64, "best_bits_per_dim")
        self.totals = {name: _variable(0, tf.float64, f"total_{name}") for name in (*metrics, "steps")}

    def count(self, name: str, more: int = 1) -> int:
        """Adds to one of the counters and returns it."""
        return int(getattr(self, name).assign_add(more).read_value())

    def add(self, values: dict[str, float], steps: int) -> None:
        """Adds to the sums of the metrics."""
        for name, value in (*values.items(), ("steps", steps)):
            self.totals[name].assign_add(value)

    def take_means(self) -> dict[str, float]:
        """The means of the metrics since the last call; {} where there was no step."""
        totals = {name: float(total.read_value()) for name, total in self.totals.items()}
        for total in self.totals.values():
            total.assign(0)
        steps = totals.pop("steps")
        return {name: total / steps for name, total in totals.items()} if steps else {}


def _variable(value: float, dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(value, dtype=dtype, trainable=False, name=name)
