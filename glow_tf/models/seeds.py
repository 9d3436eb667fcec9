"""Seeds of stateless draws."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp


def stateless_seed(seed: int | tf.Tensor | None) -> tf.Tensor:
    """Returns a stateless seed: [0, seed] of an int, a tensor as it is; another one at each call for None."""
    if seed is None:
        return tfp.random.sanitize_seed(None)
    if isinstance(seed, int | np.integer):
        return tf.constant([0, seed], tf.int32)
    return tf.cast(seed, tf.int32)
