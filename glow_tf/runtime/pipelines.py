"""Fixed numbers of parallel calls and buffers for input pipelines, which `tf.data` does not autotune.

The thread with which `tf.data` tunes a pipeline can miss the deletion of its iterator, which then waits for the thread
for up to a minute: with TensorFlow 2.18 to 2.21 about one time in five, at the end of a training run or an evaluation.
"""

import tensorflow as tf

from glow_tf.runtime.cores import cores

# For blocks of images that are read and decoded.
PARALLEL_BLOCKS = min(16, cores())
# For whole batches: they are large, and TensorFlow computes each on several cores.
PARALLEL_BATCHES = min(4, cores())
# Batches that are prepared in advance.
PREFETCHED = 2


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without autotuning, so that its iterators are deleted at once."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
