"""Seeds of stateless draws."""

import numpy as np
import tensorflow as tf


def stateless_seed(seed: int | tf.Tensor) -> tf.Tensor:
    """A stateless seed [2] of int32 from an int; one of shape [2] is passed on."""
    if isinstance(seed, int | np.integer):
        return tf.constant([0, seed], tf.int32)
    return tf.cast(seed, tf.int32)
