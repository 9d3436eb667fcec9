"""Gated units of Flow++'s networks (Ho et al. 2019, section 3.3, and the official code)."""

import tensorflow as tf

# Gain of the layer before a gate, so that the gate adds little at initialisation.
GAIN = 0.1


def concat_elu(x: tf.Tensor) -> tf.Tensor:
    """Returns elu([x, -x]): [..., 2C] for `x`: [..., C]."""
    return tf.nn.elu(tf.concat([x, -x], axis=-1))


def gate(x: tf.Tensor) -> tf.Tensor:
    """Returns a * sigmoid(b): [..., C] for x = [a, b]: [..., 2C]."""
    a, b = tf.split(x, 2, axis=-1)
    return a * tf.sigmoid(b)
