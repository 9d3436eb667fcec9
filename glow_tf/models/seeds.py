"""Seeds of stateless random numbers."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp


def int_seed(seed: int | None) -> int:
    """Returns `seed`, or for None a new one at each call, as determined by `tf.random.set_seed`."""
    if seed is not None:
        return seed
    return int(tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32))


def stateless_seed(seed: int | tf.Tensor | None, shapes: Sequence[Sequence[int | None]] = ((2,),)) -> tf.Tensor:
    """Returns a stateless seed: [0, seed] for an int, others as they are, or for None a new one, as in `int_seed`.

    Args:
      seed: an int, a stateless seed, or None.
      shapes: shapes that a stateless seed may have.

    Raises:
      ValueError: if the seed has another shape.
    """
    if seed is None:
        return tfp.random.sanitize_seed(None)
    if isinstance(seed, int | np.integer):
        return tf.constant([0, seed], tf.int32)
    seed = tf.cast(seed, tf.int32)
    if seed.shape.rank == 0:
        return tf.stack([0, seed])
    if not any(seed.shape.is_compatible_with(shape) for shape in shapes):
        expected = " or ".join(f"[{', '.join('B' if n is None else str(n) for n in shape)}]" for shape in shapes)
        raise ValueError(f"A seed must be an int, or have shape {expected}; this one has {seed.shape}.")
    return seed
