"""Batched input pipelines for training and evaluation."""

import numpy as np
import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.data.augment import augment, central_crop
from glow_tf.data.python_calls import numpy_function
from glow_tf.data.source import Source
from glow_tf.runtime.pipelines import PARALLEL_BATCHES, PREFETCHED

# Makes the augmentation draws independent of those for the example order.
_AUGMENT_KEY = 0x666C6970


def train_batches(
    source: Source, batch_size: int, seed: int, start_step: int = 0, flip: bool = False, shift: int = 0
) -> tf.data.Dataset:
    """Streams shuffled batches of the train split indefinitely, as random crops if the source is to be cropped.

    Batch `start_step` is bitwise the same whether the stream starts there or earlier. Batches span
    epoch boundaries, so that even a source smaller than a batch fills it.

    Args:
      source: the data.
      batch_size: images per batch, at least 1.
      seed: determines order, crops, flips and shifts.
      start_step: number of batches already consumed.
      flip: whether to flip each image left to right with probability 1/2.
      shift: largest random shift along either axis, in pixels; edge pixels are repeated.

    Returns:
      Dataset of {"images": uint8 [batch, H, W, C], "labels": int32 [batch]}.

    Raises:
      ValueError: on a batch size below 1, a negative step or shift, or a seed of None.
    """
    at_least("batch_size", batch_size, 1)
    at_least("start_step", start_step, 0)
    at_least("shift", shift, 0)
    if seed is None:
        raise ValueError("seed must be an integer, got None: training order is reproducible.")
    dataset = source.batches("train", batch_size, seed=seed, start=start_step * batch_size)
    size = source.image_shape[:2]
    if flip or shift or source.stored_shape != source.image_shape:

        def augment_block(step, images):
            positions = step * batch_size + np.arange(batch_size)
            return augment(images, positions, seed ^ _AUGMENT_KEY, size, flip, shift)

        def augmented(step, example):
            images, labels = example
            images = numpy_function(augment_block, [step, images], tf.uint8)
            images.set_shape([batch_size, *source.image_shape])
            return images, labels

        dataset = dataset.enumerate(start_step).map(augmented, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
    # Otherwise each step of several workers begins with a reduction that finds out whether any has run out of batches,
    # and batches have an unknown size.
    return _finish(dataset).apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def test_batches(source: Source, batch_size: int, limit: int | None = None, *, spaced: bool = False) -> tf.data.Dataset:
    """Returns `split_batches` of the test split."""
    return split_batches(source, "test", batch_size, limit, spaced=spaced)


# Keeps pytest from collecting it because of its name.
test_batches.__test__ = False


def split_batches(
    source: Source, split: str, batch_size: int, limit: int | None = None, *, spaced: bool = False
) -> tf.data.Dataset:
    """Iterates over a split once, in a fixed order without augmentation; the last batch may be smaller.

    Images are centre-cropped if the source is to be cropped.

    Args:
      source: the data.
      split: "train" or "test".
      batch_size: images per batch, at least 1.
      limit: maximum number of images, at least 1; None for all.
      spaced: whether a limit takes evenly spaced images, where the source has random access, and not the first ones.

    Returns:
      Dataset of {"images": uint8 [batch, H, W, C], "labels": int32 [batch]}.

    Raises:
      ValueError: on an unknown split, or a batch size or limit below 1.
    """
    at_least("batch_size", batch_size, 1)
    if limit is None:
        dataset = source.batches(split, batch_size)
    else:
        at_least("limit", limit, 1)
        if spaced:
            dataset = source.spaced_batches(split, batch_size, limit)
        else:
            dataset = source.examples(split).take(limit).batch(batch_size)
    if source.stored_shape != source.image_shape:
        dataset = dataset.map(lambda images, labels: (central_crop(images, source.image_shape[:2]), labels))
    return _finish(dataset)


def _finish(dataset):
    dataset = dataset.map(lambda images, labels: {"images": images, "labels": labels})
    options = tf.data.Options()
    options.deterministic = True
    # Sources do not consist of files that could be sharded across workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(PREFETCHED)
