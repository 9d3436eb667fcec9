"""From batches of uint8 images to the dequantized ones the flow is trained and evaluated on."""

import tensorflow as tf

from glow_tf.models import quantization


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
