"""Seeds of stateless random numbers."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp


def int_seed(seed: int | None) -> int:
    """Returns `seed`, or for None a new one at each call, as determined by `tf.random.set_seed`."""
    if seed is not None:
        return seed
    return int(tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32))


def stateless_seed(seed: int | tf.Tensor | None) -> tf.Tensor:
    """Returns a stateless seed: [0, seed] for an int, a tensor as it is, or for None a new one, as in `int_seed`."""
    if seed is None:
        return tfp.random.sanitize_seed(None)
    if isinstance(seed, int | np.integer):
        return tf.constant([0, seed], tf.int32)
    return tf.cast(seed, tf.int32)
