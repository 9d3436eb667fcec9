"""Parallel calls and buffers of input pipelines, which are fixed: `tf.data` does not tune them.

The thread by which `tf.data` tunes a pipeline can miss that its iterator is deleted. The deletion then waits for it, up
to a minute: with TensorFlow 2.18 to 2.21 about one time in five, at the end of a training run or of an evaluation.
"""

import tensorflow as tf

from glow_tf.runtime.cores import cores

# Of blocks of images, which are read and decoded.
PARALLEL_BLOCKS = min(16, cores())
# Of whole batches: they are large, and TensorFlow computes each on several cores.
PARALLEL_BATCHES = min(4, cores())
# Batches that are ready before they are asked for.
PREFETCHED = 2


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the same dataset, whose iterators are deleted at once."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
