"""The training run: a loop over steps, and what happens in between."""

import contextlib
import pathlib
import time

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.data import Source, test_batches, train_batches
from glow_tf.latent.grid import image_grid, readable_scale, save_png
from glow_tf.latent.sampling import Sampler
from glow_tf.models.flow import Flow
from glow_tf.training.batches import dequantized
from glow_tf.training.checkpoints import Checkpoints, claim_directory
from glow_tf.training.config import TrainingConfig
from glow_tf.training.evaluation import Evaluation, Evaluator
from glow_tf.training.metrics import MetricsWriter
from glow_tf.training.optimizer import averaged_weights, make_optimizer, steps_made
from glow_tf.training.progress import Progress
from glow_tf.training.step import make_train_function

# A call of many slow steps would leave the progress bar standing and signals unheard.
_SECONDS_PER_CALL = 2.0


class Trainer:
    """Trains a flow in a model directory, which it continues if training there has begun.

    Args:
      config: the model.
      training: how to train it.
      source: the images.
      directory: the model directory.
      strategy: the devices.

    Raises:
      ValueError: if images and model do not fit, the batch cannot be divided among the replicas, or the directory
        holds another model.
    """

    def __init__(
        self,
        config: ModelConfig,
        training: TrainingConfig,
        source: Source,
        directory: pathlib.Path,
        strategy: tf.distribute.Strategy,
    ):
        if source.image_shape != config.image_shape:
            raise ValueError(f"{source.name} has images of {source.image_shape}, the model of {config.image_shape}.")
        replicas = strategy.num_replicas_in_sync
        if training.batch_size % replicas:
            raise ValueError(
                f"--batch_size={training.batch_size} is the batch of all {replicas} replicas together and must be a "
                f"multiple of {replicas}."
            )
        claim_directory(directory, config)
        self._config, self._training, self._source = config, training, source
        self._directory, self._strategy = directory, strategy
        with strategy.scope():
            self.flow = Flow(config, training.seed)
            self._variables = list(self.flow.named_variables(trainable=True).values())
            self._optimizer = make_optimizer(training, self._variables)
        self._train = make_train_function(self.flow, self._optimizer, strategy, training)
        self._checkpoints = Checkpoints(directory, self.flow, self._optimizer, training.keep_checkpoints)
        self._evaluator = Evaluator(self.flow, strategy)
        self._sampler = Sampler(self.flow, training.samples, temperature=training.temperature, seed=training.seed)
        self.samples_path: pathlib.Path | None = None

    @property
    def step(self) -> int:
        """The number of updates made."""
        return steps_made(self._optimizer)

    def run(self) -> Evaluation:
        """Trains to the last step and returns the evaluation on all held-out images."""
        restored = self._checkpoints.restore()
        metrics = MetricsWriter(self._directory, self.step)
        with Progress(self._training.steps, self.step, self._training.batch_size) as progress:
            if restored:
                progress.say(f"Continuing at step {self.step:,} from {restored}.")
            else:
                progress.say("Initialising from the first images.")
                self._initialize()
            self._loop(metrics, progress)
        self._save_samples(metrics)
        if self._checkpoints.latest_step != self.step:
            self._checkpoints.save(self.step)
        final = self._evaluate(metrics, limit=None)
        metrics.flush()
        return final

    def _loop(self, metrics: MetricsWriter, progress: Progress) -> None:
        training = self._training
        iterator = None
        every = [n for n in (training.eval_every, training.sample_every, training.checkpoint_every) if n]
        since, images, pace = time.monotonic(), 0, 1
        while (step := self.step) < training.steps:
            iterator = iterator or iter(self._strategy.experimental_distribute_dataset(self._train_batches(step)))
            stops = [training.steps, step + min(pace, training.steps_per_call)]
            stops += [(step // n + 1) * n for n in (*every, training.log_every)]
            count = min(stops) - step
            begun = time.monotonic()
            values = {name: float(v) for name, v in self._train(iterator, tf.constant(count)).items()}
            images += count * training.batch_size
            step += count
            now = time.monotonic()
            pace = max(1, int(_SECONDS_PER_CALL * count / (now - begun)))
            progress.update(step, values["bits_per_dim"], images / (now - since))
            if step % training.log_every == 0 or step == training.steps:
                values["images_per_second"] = images / (now - since)
                values["learning_rate"] = float(self._optimizer.learning_rate)
                metrics.write("train", step, values)
                since, images = now, 0
            if step == training.steps:
                break
            if training.checkpoint_every and step % training.checkpoint_every == 0:
                self._checkpoints.save(step)
            if training.sample_every and step % training.sample_every == 0:
                self._save_samples(metrics)
            if training.eval_every and step % training.eval_every == 0:
                result = self._evaluate(metrics, limit=training.eval_images or None)
                progress.say(f"step {step:,}: test bits/dim {result}")
            since += time.monotonic() - now

    def _train_batches(self, start_step: int) -> tf.data.Dataset:
        training = self._training
        batches = self._augmented_batches(training.batch_size, start_step)
        batches = dequantized(batches, self._config.n_bits, training.seed, start_step=start_step)
        return batches.prefetch(tf.data.AUTOTUNE)

    def _initialize(self) -> None:
        training = self._training
        count = training.init_images or training.batch_size
        batch = next(iter(self._augmented_batches(count, 0)))
        self.flow.initialize(batch["images"])

    def _augmented_batches(self, batch_size: int, start_step: int) -> tf.data.Dataset:
        training = self._training
        return train_batches(
            self._source, batch_size, training.seed, start_step, flip=training.flip, shift=training.shift
        )

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return averaged_weights(self._optimizer, self._variables)

    def _evaluate(self, metrics: MetricsWriter, limit: int | None) -> Evaluation:
        batches = test_batches(self._source, self._training.batch_size, limit=limit)
        # The noise of evaluations is one draw, whatever the seed and the step: only the weights make a difference.
        batches = dequantized(batches, self._config.n_bits, seed=0)
        with self._averaged():
            result = self._evaluator(batches)
        values = {"bits_per_dim": result.mean, "standard_error": result.standard_error, "images": result.images}
        if result.label_error is not None:
            values["label_error"] = result.label_error
        metrics.write("test", self.step, values)
        return result

    def _save_samples(self, metrics: MetricsWriter) -> None:
        with self._averaged():
            images = self._sampler()
        grid = image_grid(images, scale=readable_scale(images.shape[1]))
        self.samples_path = self._directory / "samples" / f"step_{self.step:07d}.png"
        save_png(grid, self.samples_path)
        metrics.write_image("samples", self.step, grid)
