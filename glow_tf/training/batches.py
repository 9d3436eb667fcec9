"""From batches of images to those that a flow is trained and evaluated on."""

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.data import Source, train_batches
from glow_tf.dequantization import random
from glow_tf.models.likelihood import with_noise
from glow_tf.runtime.pipelines import PARALLEL_BATCHES, PREFETCHED
from glow_tf.training.config import TrainingConfig


class TrainingBatches:
    """The batches of a training run, each of which depends on the seed and its number alone.

    Args:
      source: the images.
      training: sizes, seed and augmentation.
      config: the model.
    """

    def __init__(self, source: Source, training: TrainingConfig, config: ModelConfig):
        self._source, self._training, self._config = source, training, config

    def augmented(self, batch_size: int, start_step: int) -> tf.data.Dataset:
        """Returns batches of `{"images": uint8 [B, H, W, C], "labels": int32 [B]}` from number `start_step` on."""
        training = self._training
        return train_batches(
            self._source, batch_size, training.seed, start_step, flip=training.flip, shift=training.shift
        )

    def dequantized(self, start_step: int) -> tf.data.Dataset:
        """Returns the batches of training from number `start_step` on, as `dequantized` returns them."""
        training = self._training
        batches = self.augmented(training.batch_size, start_step)
        batches = dequantized(batches, self._config, training.seed, start_step=start_step)
        return batches.prefetch(PREFETCHED)

    def one(self, step: int) -> dict[str, tf.Tensor]:
        """Returns the batch of a step."""
        return next(iter(self.dequantized(step)))


def dequantized(
    batches: tf.data.Dataset, config: ModelConfig, seed: int, *, start_step: int = 0, dtype: tf.DType = tf.float32
) -> tf.data.Dataset:
    """Adds the dequantization noise, which depends on the seed and on a batch's number alone.

    It is drawn here, for the global batch, and not on the replicas, so that it does not depend on their number. Noise
    that is learned is drawn where the weights are, by a seed for each image.

    Args:
      batches: of `{"images": uint8 [B, H, W, C], "labels": int32 [B]}`.
      config: the model.
      seed: of the noise.
      start_step: the number of the first batch.
      dtype: of the result.

    Returns:
      A dataset of batches as `glow_tf.models.likelihood.with_noise` returns them.
    """

    def add_noise(step, batch):
        return with_noise(batch, config, tf.stack([tf.constant(seed, tf.int64), step]), dtype)

    return batches.enumerate(start=start_step).map(add_noise, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)


def dequantized_for_evaluation(
    batches: tf.data.Dataset, config: ModelConfig, seed: int = 0, *, dtype: tf.DType = tf.float32
) -> tf.data.Dataset:
    """Adds noise as `dequantized` does, which depends on the seed and on each image alone.

    The evaluation of a set of images is then the same in batches of any size, and that of `Flow.bits_per_dim` with the
    same seed.
    """

    def add_noise(batch):
        return with_noise(batch, config, random.seeds_of(batch["images"], tf.constant([0, seed])), dtype)

    return batches.map(add_noise, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
