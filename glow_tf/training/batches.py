"""From batches of uint8 images to the dequantized ones the flow is trained and evaluated on."""

import tensorflow as tf

from glow_tf.data import Source, train_batches
from glow_tf.models import quantization
from glow_tf.training.config import TrainingConfig


class TrainingBatches:
    """The batches of a training run, each of which depends on the seed and its number alone.

    Args:
      source: the images.
      training: sizes, seed and augmentation.
      n_bits: bits per channel.
    """

    def __init__(self, source: Source, training: TrainingConfig, n_bits: int):
        self._source, self._training, self._n_bits = source, training, n_bits

    def augmented(self, batch_size: int, start_step: int) -> tf.data.Dataset:
        """Batches of `{"images": uint8 [B, H, W, C], "labels": int32 [B]}` from number `start_step` on."""
        training = self._training
        return train_batches(
            self._source, batch_size, training.seed, start_step, flip=training.flip, shift=training.shift
        )

    def dequantized(self, start_step: int) -> tf.data.Dataset:
        """The dequantized batches of training from number `start_step` on."""
        training = self._training
        batches = self.augmented(training.batch_size, start_step)
        batches = dequantized(batches, self._n_bits, training.seed, start_step=start_step)
        return batches.prefetch(tf.data.AUTOTUNE)

    def one(self, step: int) -> dict[str, tf.Tensor]:
        """The dequantized batch of a step."""
        return next(iter(self.dequantized(step)))


def dequantized(
    batches: tf.data.Dataset, n_bits: int, seed: int, *, start_step: int = 0, dtype: tf.DType = tf.float32
) -> tf.data.Dataset:
    """Adds the dequantization noise, which depends on the seed and on a batch's number alone.

    It is drawn here, for the global batch, and not on the replicas, so that it does not depend on their number.

    Args:
      batches: of `{"images": uint8 [B, H, W, C], "labels": int32 [B]}`.
      n_bits: bits per channel.
      seed: of the noise.
      start_step: the number of the first batch.
      dtype: of the result.

    Returns:
      A dataset of `{"x": [B, H, W, C] in [-0.5, 0.5), "labels": int32 [B]}`.
    """

    def add_noise(step, batch):
        noise_seed = tf.stack([tf.constant(seed, tf.int64), step])
        x = quantization.dequantize(batch["images"], n_bits, noise_seed, dtype)
        return {"x": x, "labels": batch["labels"]}

    return batches.enumerate(start=start_step).map(add_noise, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def dequantized_for_evaluation(
    batches: tf.data.Dataset, n_bits: int, seed: int = 0, *, dtype: tf.DType = tf.float32
) -> tf.data.Dataset:
    """Like `dequantized`, with noise that depends on the seed and on each image alone.

    The evaluation of a set of images is then the same in batches of any size, and that of `Flow.bits_per_dim` with the
    same seed.
    """

    def add_noise(batch):
        x = quantization.dequantize_each(batch["images"], n_bits, tf.constant([0, seed]), dtype)
        return {"x": x, "labels": batch["labels"]}

    return batches.map(add_noise, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
