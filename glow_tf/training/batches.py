"""Batches for training and evaluation: images with dequantization noise."""

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.data import Source, train_batches
from glow_tf.dequantization import random
from glow_tf.models.likelihood import with_noise
from glow_tf.runtime.pipelines import PARALLEL_BATCHES, PREFETCHED
from glow_tf.training.config import TrainingConfig


class TrainingBatches:
    """The batches of a training run, each determined by the seed and the batch number alone.

    Args:
      source: the images.
      training: batch size, seed and augmentation settings.
      config: the model.
    """

    def __init__(self, source: Source, training: TrainingConfig, config: ModelConfig):
        self._source, self._training, self._config = source, training, config

    def augmented(self, batch_size: int, start_step: int) -> tf.data.Dataset:
        """Returns batches of `{"images": uint8 [B, H, W, C], "labels": int32 [B]}`, starting at batch `start_step`."""
        training = self._training
        return train_batches(
            self._source, batch_size, training.seed, start_step, flip=training.flip, shift=training.shift
        )

    def dequantized(self, start_step: int) -> tf.data.Dataset:
        """Returns the dequantized training batches, starting at batch `start_step`; see the function `dequantized`."""
        training = self._training
        batches = self.augmented(training.batch_size, start_step)
        batches = dequantized(batches, self._config, training.seed, start_step=start_step)
        return batches.prefetch(PREFETCHED)

    def one(self, step: int) -> dict[str, tf.Tensor]:
        """Returns the training batch at `step`, counted from 0."""
        return next(iter(self.dequantized(step)))


def dequantized(
    batches: tf.data.Dataset, config: ModelConfig, seed: int, *, start_step: int = 0, dtype: tf.DType = tf.float32
) -> tf.data.Dataset:
    """Adds dequantization noise that depends only on the seed and the batch number.

    The noise is drawn here for the global batch rather than on the replicas, so that it does not depend on the number
    of replicas. Learned noise is drawn where the weights are, from a seed per image.

    Args:
      batches: dataset of `{"images": uint8 [B, H, W, C], "labels": int32 [B]}`.
      config: the model.
      seed: seed of the noise.
      start_step: number of the first batch.
      dtype: dtype of the result.

    Returns:
      A dataset of batches as `glow_tf.models.likelihood.with_noise` returns them.
    """

    def add_noise(step, batch):
        return with_noise(batch, config, tf.stack([tf.constant(seed, tf.int64), step]), dtype)

    return batches.enumerate(start=start_step).map(add_noise, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)


def dequantized_for_evaluation(
    batches: tf.data.Dataset, config: ModelConfig, seed: int = 0, *, dtype: tf.DType = tf.float32
) -> tf.data.Dataset:
    """Adds noise like `dequantized`, except that it depends only on the seed and on each image.

    The result of an evaluation is then independent of the batch size, and the same as that of `Flow.bits_per_dim` with
    the same seed.
    """

    def add_noise(batch):
        return with_noise(batch, config, random.seeds_of(batch["images"], tf.constant([0, seed])), dtype)

    return batches.map(add_noise, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
