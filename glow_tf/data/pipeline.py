"""Batches of a source."""

import functools

import numpy as np
import tensorflow as tf

from glow_tf.data.source import Source

# Keeps the draws for augmentation apart from those for the order of the examples.
_AUGMENT_KEY = 0x666C6970


def train_batches(
    source: Source, batch_size: int, seed: int, start_step: int = 0, flip: bool = False, shift: int = 0
) -> tf.data.Dataset:
    """Endless batches of the train split, shuffled.

    Batch `start_step` is the same, bit for bit, whether the stream starts there or before.
    Batches run on across the end of an epoch, so that a source smaller than a batch fills it.

    Args:
        source: the data.
        batch_size: images a batch, at least 1.
        seed: determines order, flips and shifts.
        start_step: number of batches already used.
        flip: whether to mirror each image, left to right, with probability 1/2.
        shift: most pixels by which each image is moved along either axis, at random; its edge
            is repeated where it leaves the frame.

    Returns:
        Dataset of {"images": uint8 [batch, H, W, C], "labels": int32 [batch]}.

    Raises:
        ValueError: on a batch size below 1, a negative step or shift, or a seed that is no integer.
    """
    _check_count("batch_size", batch_size, 1)
    _check_count("start_step", start_step, 0)
    _check_count("shift", shift, 0)
    if seed is None:
        raise ValueError("seed must be an integer, got None: training order is reproducible.")
    start = start_step * batch_size
    dataset = source.examples("train", seed=seed, start=start)
    if flip or shift:
        augment = functools.partial(_augment, seed ^ _AUGMENT_KEY, flip, shift)
        dataset = dataset.enumerate(start).map(augment)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return _finish(dataset)


def test_batches(source: Source, batch_size: int, limit: int | None = None) -> tf.data.Dataset:
    """One pass over the test split in a fixed order; the last batch may be smaller.

    Args:
        source: the data.
        batch_size: images a batch, at least 1.
        limit: number of images to stop after, at least 1; None for all.

    Returns:
        Dataset of {"images": uint8 [batch, H, W, C], "labels": int32 [batch]}.

    Raises:
        ValueError: on a batch size or limit below 1.
    """
    _check_count("batch_size", batch_size, 1)
    dataset = source.examples("test")
    if limit is not None:
        _check_count("limit", limit, 1)
        dataset = dataset.take(limit)
    return _finish(dataset.batch(batch_size))


# Its name begins with test_ because of the split, not because it is one.
test_batches.__test__ = False


def _augment(key, flip, shift, position, example):
    """Flips and shifts one example, by draws that depend on the key and its position alone."""
    image, label = example
    seed = tf.stack([tf.constant(key, tf.int64), position])
    if flip:
        mirrored = tf.random.stateless_uniform([], seed) < 0.5
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    if shift:
        offsets = tf.random.stateless_uniform([2], seed + [0, 1 << 40], -shift, shift + 1, tf.int32)
        for axis in (0, 1):
            size = image.shape[axis]
            image = tf.gather(image, tf.clip_by_value(tf.range(size) + offsets[axis], 0, size - 1), axis=axis)
    return image, label


def _finish(dataset):
    dataset = dataset.map(lambda images, labels: {"images": images, "labels": labels})
    options = tf.data.Options()
    options.deterministic = True
    # Sources are not made of files that workers could share out.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _check_count(name, value, least):
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}.")
