"""Seeds of stateless draws."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp


def int_seed(seed: int | None) -> int:
    """Returns a seed as it is; for None another one at each call, as `tf.random.set_seed` determines."""
    if seed is not None:
        return seed
    return int(tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32))


def stateless_seed(seed: int | tf.Tensor | None) -> tf.Tensor:
    """Returns a stateless seed: [0, seed] of an int, a tensor as it is; for None another one, as `int_seed` does."""
    if seed is None:
        return tfp.random.sanitize_seed(None)
    if isinstance(seed, int | np.integer):
        return tf.constant([0, seed], tf.int32)
    return tf.cast(seed, tf.int32)
