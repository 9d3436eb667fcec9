"""Seeds of stateless draws."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp


def stateless_seed(seed: int | tf.Tensor | None) -> tf.Tensor:
    """A stateless seed [2] of int32 from an int; one of shape [2] is passed on. None gives another one at each call."""
    if seed is None:
        return tfp.random.sanitize_seed(None)
    if isinstance(seed, int | np.integer):
        return tf.constant([0, seed], tf.int32)
    return tf.cast(seed, tf.int32)
