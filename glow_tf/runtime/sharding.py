"""Sharding of batches over CPU cores: each core computes the whole function on a part of the images."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.runtime.cores import cores

# A batch is sharded if each shard has at least this many images, and cores times width is at most the second number:
# the wider the networks, the longer their operations, and the better cores share one.
_IMAGES_PER_SHARD = 4
_MOST_CORES_TIMES_WIDTH = 1024


def enable_cpu_sharding(images: int, width: int) -> bool:
    """Limits each TensorFlow operation to one core, if computing one shard of the batch per core is faster.

    On a CPU, many operations of a flow are too short to be shared by cores. The setting applies to the whole process.
    It has no effect once TensorFlow is initialised, or with a GPU.

    Args:
      images: the number of images computed at once.
      width: hidden channels of the coupling networks.

    Returns:
      Whether the limit is in force.
    """
    if images < _IMAGES_PER_SHARD * cores() or width * cores() > _MOST_CORES_TIMES_WIDTH:
        return False
    if tf.config.list_physical_devices("GPU"):
        return False
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
    return tf.config.threading.get_intra_op_parallelism_threads() == 1


def map_shards(function: Callable, *nests: Any, shards: int = 1, xla: bool = False):
    """Applies a function to shards of a batch in parallel, for use inside a `tf.function`.

    Args:
      function: takes as many arguments as there are `nests`, and returns a nest of tensors [B, ...], in which an
        image's values do not depend on the other images.
      *nests: nests of tensors [B, ...] with the same B, or of None, which is passed on. At least one is not None.
      shards: number of shards.
      xla: whether to compile the function with XLA, once for each shape of the tensors, instead of sharding.

    Returns:
      The nest that `function` returns for the whole batch.
    """
    tensors = tf.nest.flatten(nests)
    given = [tensor for tensor in tensors if tensor is not None]

    def call(*given):
        left = iter(given)
        flat = [None if tensor is None else next(left) for tensor in tensors]
        return function(*tf.nest.pack_sequence_as(nests, flat))

    if xla:
        return tf.function(call, jit_compile=True, autograph=False)(*given)
    if shards == 1:
        return function(*nests)
    size = tf.shape(given[0])[0]
    # The last shards may be padded; the results for the padding are cut off.
    missing = -size % shards
    parts = [tf.reshape(pad_batch(t, missing), [shards, -1, *t.shape[1:]]) for t in given]

    # Traced before the loop, which needs to know the types of the results.
    traced = tf.function(call, autograph=False).get_concrete_function(
        *(tf.TensorSpec(s.shape[1:], s.dtype) for s in parts)
    )
    signature = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), traced.structured_outputs)
    results = tf.map_fn(lambda shard: traced(*shard), parts, fn_output_signature=signature, parallel_iterations=shards)
    return tf.nest.map_structure(lambda t: tf.reshape(t, [-1, *t.shape[2:]])[:size], results)


def equal_batches(
    batches: Iterable[Mapping[str, np.ndarray]],
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Pads batches with zeros to the size of the largest so far, and yields each with its number of images.

    Otherwise, XLA would compile a function again for a smaller last batch, which takes far longer than computing zeros.
    """
    size = None
    for batch in batches:
        batch = {name: np.asarray(values) for name, values in batch.items()}
        count = len(batch["images"])
        size = max(size or 0, count)
        missing = size - count
        yield {n: np.pad(v, [(0, missing), *[(0, 0)] * (v.ndim - 1)]) for n, v in batch.items()}, count


def pad_if_empty(t: tf.Tensor) -> tf.Tensor:
    """Returns `t`: [B, ...], or one image of zeros if B is 0."""
    return t if t.shape[0] else pad_batch(t, tf.cast(tf.shape(t)[0] == 0, tf.int32))


def pad_batch(t: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    """Appends `missing` images of zeros: [B, ...] to [B + missing, ...]."""
    return tf.pad(t, [[0, missing], *[[0, 0]] * (t.shape.rank - 1)])
