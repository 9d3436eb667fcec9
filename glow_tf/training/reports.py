"""Evaluation, sampling and metric reporting, and warnings of trouble to come."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from glow_tf.analysis.grid import image_grid, readable_scale, save_png
from glow_tf.analysis.sampling import Sampler
from glow_tf.data import Source, test_batches
from glow_tf.models import health, storage
from glow_tf.models.flow import Flow
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.config import TrainingConfig
from glow_tf.training.evaluation import Evaluation, Evaluator
from glow_tf.training.metrics import MetricsWriter
from glow_tf.training.optimizer import Adam, Adamax, averaged_weights
from glow_tf.training.state import RunState

_RECONSTRUCTIONS = 8
BEST = "best"


class Reports:
    """Evaluates a flow with the moving averages of its weights, and writes what it finds.

    Args:
      flow: the model.
      optimizer: holds the moving averages.
      state: the run's; knows the best evaluation so far.
      strategy: the devices.
      training: sizes and seeds.
      source: the images.
      directory: the model directory.
      write: whether this process writes files; of several workers one does.
      interrupted: asked between two batches of an evaluation; it may raise.
    """

    def __init__(
        self,
        flow: Flow,
        optimizer: Adamax | Adam,
        state: RunState,
        strategy: tf.distribute.Strategy,
        training: TrainingConfig,
        source: Source,
        directory: pathlib.Path,
        *,
        write: bool,
        interrupted: Callable[[], None],
    ):
        self._flow, self._optimizer, self._state, self._write = flow, optimizer, state, write
        self._training, self._source, self._directory = training, source, directory
        self._variables = list(flow.named_variables(trainable=True).values())
        self._evaluator = Evaluator(flow, strategy, interrupted, batch_size=training.batch_size)
        batch_size = min(training.samples, training.batch_size)
        self._sampler = Sampler(
            flow, training.samples, temperature=training.temperature, seed=training.seed, batch_size=batch_size
        )
        self._round_trip = tf.function(
            lambda x, labels: health.round_trip_errors(flow, x, labels, network_precision=training.network_precision),
            autograph=False,
        )
        self._reconstruct = tf.function(
            lambda images, labels: flow.decode(flow.encode(images, labels), labels), autograph=False
        )
        self._metrics: MetricsWriter | None = None
        self.samples_path: pathlib.Path | None = None

    def begin(self, step: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Opens the files, from which lines after `step` are dropped; `say` is told of those that cannot be read."""
        if self._write:
            self._metrics = MetricsWriter(self._directory, step, say, evaluates_again=step >= self._training.steps)
            config = self._flow.config
            model = {"model": config.name, "n_bits": config.n_bits, "data": self._source.describe()}
            self._metrics.write_hyperparameters({**model, **dataclasses.asdict(self._training)})

    def write(self, kind: str, values: dict[str, float]) -> None:
        """Writes metrics of the present step."""
        if self._metrics:
            self._metrics.write(kind, self._step, values)

    def evaluate(self, say: Callable[[str], None], limit: int | None = None) -> Evaluation:
        """Evaluates on the test split, or on its first `limit` images, and keeps the weights if they are the best."""
        batches = test_batches(self._source, self._training.batch_size, limit=limit)
        # The noise of evaluations is one draw, whatever the seed and the step: only the weights make a difference.
        batches = dequantized_for_evaluation(batches, self._flow.config)
        with averaged_weights(self._optimizer, self._variables):
            result = self._evaluator(batches)
            values = {"bits_per_dim": result.mean, "standard_error": result.standard_error, "images": result.images}
            if result.label_error is not None:
                values["label_error"] = result.label_error
            self._keep_if_best(result)
        if self._metrics:
            values |= self._health(say)
            self._save_reconstructions()
        self.write("test", {**values, **result.parts})
        return result

    def save_samples(self) -> None:
        """Draws the grid of samples, of the same latents every time."""
        if not self._metrics:
            return
        with averaged_weights(self._optimizer, self._variables):
            images = self._sampler()
        self.samples_path = self._save_grid("samples", images, None)

    def flush(self) -> None:
        """Makes everything visible to readers."""
        if self._metrics:
            self._metrics.flush()

    @property
    def _step(self) -> int:
        return int(self._state.step.read_value())

    def _keep_if_best(self, result: Evaluation) -> None:
        state = self._state
        # Means over different numbers of images do not compare.
        comparable = not int(state.best_step) or int(state.best_images) == result.images
        if not comparable or not result.mean < float(state.best_bits_per_dim.read_value()):
            return
        state.best_bits_per_dim.assign(result.mean)
        state.best_step.assign(self._step)
        state.best_images.assign(result.images)
        if self._write:
            storage.save(self._flow, self._directory / BEST, step=self._step)

    def _health(self, say: Callable[[str], None]) -> dict[str, float]:
        numbers = {f"condition/{level}": n for level, n in health.condition_numbers(self._flow).items()}
        images, labels = self._held_out()
        error = float(tf.reduce_max(self._round_trip(self._flow.centers(images), labels)))
        if not error < self._flow.config.dequantizer.tolerance:
            worst = (
                f", the largest condition number of a 1x1 convolution {max(numbers.values()):.3g}" if numbers else ""
            )
            say(
                f"step {self._step:,}: images do not come back from their latents exactly (error {error:.2g}{worst}). "
                "--gradient=stored does not rebuild activations; --coupling=additive rebuilds them better."
            )
        return {**numbers, "round_trip/error": error}

    def _save_reconstructions(self) -> None:
        images, labels = self._held_out()
        with averaged_weights(self._optimizer, self._variables):
            again = self._reconstruct(images, labels)
        self._save_grid("reconstructions", np.concatenate([images, again]), len(images))

    def _held_out(self) -> tuple[tf.Tensor, tf.Tensor | None]:
        batch = next(iter(test_batches(self._source, min(_RECONSTRUCTIONS, self._training.batch_size))))
        return batch["images"], batch["labels"] if self._flow.config.conditional else None

    def _save_grid(self, name: str, images: np.ndarray, columns: int | None) -> pathlib.Path:
        grid = image_grid(images, columns, scale=readable_scale(images.shape[1]))
        path = self._directory / name / f"step_{self._step:07d}.png"
        save_png(grid, path)
        self._metrics.write_image(name, self._step, grid)
        return path


def best_line(state: RunState) -> str:
    """Describes the best evaluation so far, for people."""
    best = float(state.best_bits_per_dim.read_value())
    return f"{best:.3f} test bits/dim at step {int(state.best_step):,}" if math.isfinite(best) else "no evaluation yet"
