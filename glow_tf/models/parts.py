"""A batch in parts, computed at the same time by a core each."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.models.cores import cores

# A batch is computed in parts where there are so many images for each, and cores times width is no more than this: the
# wider the networks, the longer their operations and the better cores share one.
_IMAGES_OF_A_PART = 4
_CORES_TIMES_WIDTH = 1024


def leave_each_operation_one_core(images: int, width: int) -> None:
    """Tells TensorFlow to compute each operation on one core, where cores get more done with a part of a batch each.

    On a CPU, many operations of a flow are too short to be shared by cores. It depends on how many images there are at
    once, and on the width of the coupling networks. It holds for all that this process computes, and has an effect
    before TensorFlow has begun to work; later, and with a GPU, nothing changes.

    Args:
      images: that are computed at once.
      width: of the coupling networks.
    """
    if images < _IMAGES_OF_A_PART * cores() or width * cores() > _CORES_TIMES_WIDTH:
        return
    if tf.config.list_physical_devices("GPU"):
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)


def parts_at_once() -> int:
    """In how many parts, computed at the same time, a device takes a batch.

    One for each core, if `leave_each_operation_one_core` has done so; else 1.
    """
    return cores() if tf.config.threading.get_intra_op_parallelism_threads() == 1 else 1


def in_parts(function: Callable, *tensors: tf.Tensor | None, xla: bool = False):
    """What a function of a batch returns, computed in `parts_at_once` parts; for use in a `tf.function`.

    Args:
      function: of as many arguments as there are `tensors`; it returns a nest of tensors [B, ...], in which an image's
        values do not depend on the other images.
      *tensors: of the same B each, at least one of them [B, ...]; or None, which stays None.
      xla: whether XLA compiles the function, once for each shape of the tensors, in place of taking parts.
    """
    given = [tensor for tensor in tensors if tensor is not None]

    def of_given(*given):
        left = iter(given)
        return function(*(None if tensor is None else next(left) for tensor in tensors))

    if xla:
        return tf.function(of_given, jit_compile=True, autograph=False)(*given)
    count = parts_at_once()
    if count == 1:
        return function(*tensors)
    size = tf.shape(given[0])[0]
    # The last parts may lack images; the results of what stands there are cut off.
    missing = -size % count
    parts = [tf.reshape(padded(t, missing), [count, -1, *t.shape[1:]]) for t in given]

    # Traced before the loop is, which has to know the results' types.
    traced = tf.function(of_given, autograph=False).get_concrete_function(
        *(tf.TensorSpec(p.shape[1:], p.dtype) for p in parts)
    )
    signature = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), traced.structured_outputs)
    results = tf.map_fn(lambda part: traced(*part), parts, fn_output_signature=signature, parallel_iterations=count)
    return tf.nest.map_structure(lambda t: tf.reshape(t, [-1, *t.shape[2:]])[:size], results)


def equal_batches(
    batches: Iterable[Mapping[str, np.ndarray]],
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Batches that are all as large as the first, and how many images of each count; the others are zeros.

    XLA would compile a function once more for the last batch, which takes far longer than to compute the zeros.
    """
    size = None
    for batch in batches:
        batch = {name: np.asarray(values) for name, values in batch.items()}
        count = len(batch["images"])
        size = max(size or 0, count)
        missing = size - count
        yield {n: np.pad(v, [(0, missing), *[(0, 0)] * (v.ndim - 1)]) for n, v in batch.items()}, count


def padded(t: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    """`t`: [B, ...] with zeros in the place of `missing` more images, [B + missing, ...]."""
    return tf.pad(t, [[0, missing], *[[0, 0]] * (t.shape.rank - 1)])
