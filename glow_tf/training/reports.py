"""Evaluation, sampling and metric reporting, and early warnings of numerical problems."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import tensorflow as tf

from glow_tf.data import Source, test_batches
from glow_tf.models import health, storage
from glow_tf.training import model_directory
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.config import TrainingConfig
from glow_tf.training.evaluation import Evaluation, Evaluator
from glow_tf.training.metrics import MetricsWriter, hyperparameters
from glow_tf.training.pictures import Pictures
from glow_tf.training.signals import TrainingStopped
from glow_tf.training.state import RunState, TrainingState
from glow_tf.training.trackers import Trackers

_RECONSTRUCTIONS = 8
BEST = "best"


class Reports:
    """Evaluates a flow with the moving averages of its weights, and writes the results.

    Args:
      state: state of the run, which includes the best evaluation so far.
      evaluator: evaluator of its flow.
      training: the training settings.
      source: the images.
      directory: the model directory.
      write: whether this process writes files; only one of several workers does.
      flags: other flags of the run, as in `model_directory.Run`.
    """

    def __init__(
        self,
        state: TrainingState,
        evaluator: Evaluator,
        training: TrainingConfig,
        source: Source,
        directory: pathlib.Path,
        *,
        write: bool,
        flags: Mapping[str, Any] | None = None,
    ):
        self._state, self._evaluator, self._write, self._flags = state, evaluator, write, flags
        self._training, self._source, self._directory = training, source, directory
        flow = state.flow
        self._round_trip = tf.function(
            lambda x, labels: health.round_trip_errors(flow, x, labels, network_precision=training.network_precision),
            autograph=False,
        )
        self._pictures = Pictures(flow, training, directory)
        self._metrics: MetricsWriter | None = None
        self._trackers = Trackers(training.tracker, directory)
        self.samples_path: pathlib.Path | None = None
        self._is_best = False

    def __enter__(self) -> "Reports":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status = "FINISHED" if error is None else "KILLED" if isinstance(error, TrainingStopped) else "FAILED"
        self._trackers.close(status)

    def begin(self, step: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Opens the files, and drops lines after `step` from them; `say` is called about lines that cannot be read.

        The best evaluation is forgotten if it is of other data.
        """
        if model_directory.identity(self._directory / BEST) not in (None, self._source.identity()):
            run = self._state.run
            run.best_bits_per_dim.assign(math.inf)
            run.best_step.assign(0)
            for counter in (run.best_images, run.best_requested, run.since_best):
                counter.assign(0)
        if self._metrics:
            # After a rollback. A TensorBoard that has failed stays closed.
            self._metrics.go_back(step, say)
        elif self._write:
            config = self._state.flow.config
            model = {"model": config.name, "n_bits": config.n_bits, "data": self._source.describe()}
            # MLflow allows no brackets in names.
            fields = config.flattened().items()
            of_config = {f"config.{path.replace('[', '.').replace(']', '')}": value for path, value in fields}
            values = {**model, **dataclasses.asdict(self._training), **of_config}
            self._trackers.begin(hyperparameters(values), say)
            self._metrics = MetricsWriter(self._directory, step, say, trackers=self._trackers)
            self._metrics.write_hyperparameters(values)

    def write(self, kind: str, values: dict[str, float]) -> None:
        """Writes metrics of the current step."""
        if self._metrics:
            self._metrics.write(kind, self._step, values)

    def evaluate(self, say: Callable[[str], None], limit: int | None = None) -> Evaluation:
        """Evaluates on the test split, or on `limit` images across it, and keeps the weights if they are the best.

        If the best evaluation so far was to be of another number of images, this one is not compared with it. It takes
        its place if it is to be of as many images as the periodic evaluations of this run. Images that cannot be read
        make no difference to that.
        """
        size = self._source.sizes["test"]
        requested = min(limit or size, size) if size else limit or 0
        batches = test_batches(self._source, self._training.images_at_once, limit=limit, spaced=True)
        # Evaluations use the same noise at any seed and step, so that only the weights make a difference.
        batches = dequantized_for_evaluation(batches, self._state.flow.config)
        with self._state.with_averages():
            result = self._evaluator(batches)
            values = {"bits_per_dim": result.mean, "standard_error": result.standard_error, "images": result.images}
            if result.label_error is not None:
                values["label_error"] = result.label_error
            periodic = limit == (self._training.eval_images or None)
            self._is_best = self._keep_if_best(result, requested, periodic=periodic)
        if self._metrics:
            images, labels = self._held_out()
            values |= self._health(images, labels, say)
            with self._state.with_averages():
                _, grid = self._pictures.save_reconstructions(self._step, images, labels)
            self._metrics.write_image("reconstructions", self._step, grid)
        self.write("test", {**values, **result.parts})
        return result

    @property
    def without_better(self) -> int:
        """Number of consecutive evaluations during training without improvement on the best, with the last one.

        The state counts that one only once the reports of its step are complete, as it is repeated otherwise.
        """
        return 0 if self._is_best else int(self._state.run.since_best) + 1

    def save_samples(self) -> None:
        """Draws the grid of samples, from the same latents every time."""
        if not self._metrics:
            return
        with self._state.with_averages():
            self.samples_path, grid = self._pictures.save_samples(self._step)
        self._metrics.write_image("samples", self._step, grid)

    def flush(self) -> None:
        """Makes everything visible to readers."""
        if self._metrics:
            self._metrics.flush()

    @property
    def _step(self) -> int:
        return self._state.step

    def _keep_if_best(self, result: Evaluation, requested: int, periodic: bool) -> bool:
        """Keeps the weights if their evaluation is the best; returns whether it is, or repeats the best one."""
        run = self._state.run
        # Means over different numbers of images are not comparable. Earlier versions kept only the number read.
        before = int(run.best_requested)
        same_number = before == requested if before else int(run.best_images) == result.images
        comparable = not int(run.best_step) or same_number
        to_beat = float(run.best_bits_per_dim.read_value()) if comparable else math.inf
        if not (comparable or periodic) or not result.mean < to_beat:
            # After a rollback, other weights than those of the best evaluation may be at its step.
            return comparable and int(run.best_step) == self._step and result.mean == to_beat
        run.best_bits_per_dim.assign(result.mean)
        run.best_step.assign(self._step)
        run.best_images.assign(result.images)
        run.best_requested.assign(requested)
        run.since_best.assign(0)
        if self._write:
            storage.save(self._state.flow, self._directory / BEST, step=self._step)
            # Commands use it to find the data, the names of its labels and the size limit of its pictures.
            model_directory.write_metadata(
                self._directory / BEST, self._state.flow.config, self._training, self._source, self._flags
            )
        return True

    def _health(self, images: tf.Tensor, labels: tf.Tensor | None, say: Callable[[str], None]) -> dict[str, float]:
        flow = self._state.flow
        numbers = {f"condition/{level}": n for level, n in health.condition_numbers(flow).items()}
        error = float(tf.reduce_max(self._round_trip(flow.centers(images), labels)))
        if not error < flow.config.dequantizer.tolerance:
            worst = (
                f", the largest condition number of a 1x1 convolution {max(numbers.values()):.3g}" if numbers else ""
            )
            advice = [
                *(["--gradient=stored does not rebuild activations"] * (flow.config.gradient == "reversible")),
                *(["--coupling=additive is inverted more exactly"] * health.can_be_additive(flow.config)),
            ]
            say(
                f"step {self._step:,}: images are not reconstructed exactly from their latents (error "
                f"{error:.2g}{worst}). {'; '.join(advice)}{'.' if advice else ''}".rstrip()
            )
        return {**numbers, "round_trip/error": error}

    def _held_out(self) -> tuple[tf.Tensor, tf.Tensor | None]:
        batch = next(iter(test_batches(self._source, min(_RECONSTRUCTIONS, self._training.images_at_once))))
        return batch["images"], batch["labels"] if self._state.flow.config.conditional else None


def best_line(state: RunState) -> str:
    """Formats the best evaluation so far."""
    best = float(state.best_bits_per_dim.read_value())
    return f"{best:.3f} test bits/dim at step {int(state.best_step):,}" if math.isfinite(best) else "no evaluation yet"
