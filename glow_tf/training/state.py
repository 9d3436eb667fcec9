"""State of a training run: the flow, its optimizer, and the progress of the run."""

import contextlib
import dataclasses
import math
from collections.abc import Collection, Iterable

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models.flow import Flow
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.config import TrainingConfig
from glow_tf.training.optimizer import Optimizer, averaged_weights, make_optimizer
from glow_tf.training.step import metric_names


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything that training changes and a checkpoint holds.

    Attributes:
      flow: the model.
      optimizer: its optimizer, which holds the moving averages of its weights.
      run: progress of the run.
    """

    flow: Flow
    optimizer: Optimizer
    run: "RunState"

    @classmethod
    def create(
        cls, config: ModelConfig, training: TrainingConfig, strategy: tf.distribute.Strategy, runtime: Runtime
    ) -> "TrainingState":
        """Returns the state before the first step, with flow and optimizer on the devices of a strategy."""
        with strategy.scope():
            flow = Flow(config, training.seed, runtime=runtime)
            trained = list(flow.named_variables(trainable=True).values())
            optimizer = make_optimizer(training, trained, flow.decayed_variables())
        return cls(flow, optimizer, RunState(metric_names(config)))

    @property
    def step(self) -> int:
        """Number of batches used."""
        return int(self.run.step.read_value())

    def with_averages(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the weights of the flow are replaced by their moving averages."""
        return averaged_weights(self.optimizer, list(self.flow.named_variables(trainable=True).values()))

    def checkpoint(self, without: Collection[str] = ()) -> tf.train.Checkpoint:
        """Returns its checkpoint: flow, run, moving averages by path, for `glow_tf.load`, and optimizer variables.

        Args:
          without: names of variables of the run that are left out.
        """
        averages = self.optimizer.averages
        # Named after the kind of optimizer, as those of Adam would also fit Adamax, and vice versa.
        kind = type(self.optimizer).__name__.lower()
        values = [variable.value for variable in self.optimizer.variables]
        slots = [value for value in values if all(value is not average for average in averages)]
        slots = {f"{kind}_{i:03d}": value for i, value in enumerate(slots)}
        slots["learning_rate_factor"] = self.optimizer.schedule.factor
        paths = self.flow.named_variables(trainable=True)
        ema = dict(zip(paths, averages, strict=True)) if averages else {}
        run = {name: value for name, value in vars(self.run).items() if not name.startswith("_")}
        run = {name: value for name, value in run.items() if name not in without}
        return tf.train.Checkpoint(flow=self.flow, optimizer=slots, ema=ema, run=run)


# Variables of `RunState` that the checkpoints of earlier versions lack; 0 there.
ADDED = ("best_requested", "since_best")


class RunState(tf.Module):
    """Progress of a run, beyond weights and optimizer.

    Args:
      metrics: names of the metrics that a step reports.

    Attributes:
      step: number of batches used, including those of skipped updates: the position in the data.
      skipped: number of steps that changed nothing because their loss or gradient was not finite.
      skipped_in_a_row: number of consecutive skipped steps, up to the last step.
      rollbacks: number of times the run went back to a checkpoint because of them.
      reported_step: last step after which all reports that were due are complete.
      best_bits_per_dim: lowest held-out bits/dim so far; infinite before the first evaluation.
      best_step: step of that evaluation.
      best_images: number of images of that evaluation.
      best_requested: number of images it was to be of: more than `best_images` if some could not be read; 0 if unknown.
      since_best: number of evaluations during training since then, none of them better.
      totals: sums of the metrics since they were last logged and, as `steps`, the number of steps summed.
    """

    def __init__(self, metrics: Iterable[str]):
        super().__init__(name="run_state")
        counters = ("step", "skipped", "skipped_in_a_row", "rollbacks", "reported_step", "best_step", "best_images")
        for name in (*counters, *ADDED):
            setattr(self, name, _variable(0, tf.int64, name))
        self.best_bits_per_dim = _variable(math.inf, tf.float64, "best_bits_per_dim")
        self.totals = {name: _variable(0, tf.float64, f"total_{name}") for name in (*metrics, "steps")}

    def count(self, name: str, more: int = 1) -> int:
        """Adds `more` to one of the counters and returns its new value."""
        return int(getattr(self, name).assign_add(more).read_value())

    def add(self, values: dict[str, float], steps: int) -> None:
        """Adds the sums of the metrics over a number of steps."""
        for name, value in (*values.items(), ("steps", steps)):
            self.totals[name].assign_add(value)

    def take_means(self) -> dict[str, float]:
        """Returns the means of the metrics since the last call; {} if there was no step."""
        totals = {name: float(total.read_value()) for name, total in self.totals.items()}
        for total in self.totals.values():
            total.assign(0)
        steps = totals.pop("steps")
        return {name: total / steps for name, total in totals.items()} if steps else {}


def _variable(value: float, dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(value, dtype=dtype, trainable=False, name=name)
