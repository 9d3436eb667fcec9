"""Random parameters of networks."""

import numpy as np
import tensorflow as tf

from glow_tf.parameters import flatten_nest, initial_value, unflatten_nest


def initial_values(parameters):
    return unflatten_nest({path: initial_value(parameter) for path, parameter in flatten_nest(parameters)})


def random_values(network, depth, inputs, outputs, seed=0, positions=(4, 4)):
    """The initial values, randomly perturbed."""
    rng = np.random.default_rng(seed)
    initial = initial_values(network.parameters(rng, depth, inputs, outputs, (*positions, inputs)))
    return tf.nest.map_structure(lambda a: a + 0.3 * rng.standard_normal(a.shape), initial)


def slices(network, values, k):
    """The tensors of network `k`, sliced from those of the stack."""
    return tf.nest.map_structure(lambda t: t[k], network.prepare(tf.nest.map_structure(tf.constant, values)))
