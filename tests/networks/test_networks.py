"""Properties common to all coupling networks."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import networks
from glow_tf.mode import Mode
from glow_tf.parameters import flatten_nest, unflatten_nest
from tests.networks.random_networks import initial_values, slices
from tests.tolerances import assert_close

DEPTH, INPUTS, OUTPUTS, WIDTH = 3, 2, 4, 5
NETWORKS = {
    "cnn": networks.Cnn(width=WIDTH),
    "cnn of other kernels": networks.Cnn(width=WIDTH, kernels=(5, 1, 1)),
    "resnet": networks.Resnet(width=WIDTH, blocks=2),
    "mlp": networks.Mlp(width=WIDTH, blocks=2),
    "cnn of sequences": networks.Cnn(width=WIDTH),
    "resnet of sequences": networks.Resnet(width=WIDTH, blocks=2),
    "mlp of sequences": networks.Mlp(width=WIDTH, blocks=2),
    "gated attention": networks.GatedAttention(width=WIDTH, blocks=2, heads=2),
    "gated attention of sequences": networks.GatedAttention(width=WIDTH, blocks=1, heads=1),
    "vit": networks.Vit(width=WIDTH, depth=2, heads=2, patch_size=2),
    "vit of sequences": networks.Vit(width=WIDTH, depth=1, heads=1),
}
SHAPES = {
    **{"cnn": (3, 5, INPUTS), "cnn of other kernels": (3, 5, INPUTS), "resnet": (5, 3, INPUTS), "mlp": (INPUTS,)},
    **dict.fromkeys(("cnn of sequences", "resnet of sequences", "mlp of sequences"), (7, INPUTS)),
    **{"gated attention": (3, 5, INPUTS), "vit": (2, 4, INPUTS)},
    **dict.fromkeys(("gated attention of sequences", "vit of sequences"), (7, INPUTS)),
}


def initial(name, seed=0):
    rng = np.random.default_rng(seed)
    return initial_values(NETWORKS[name].parameters(rng, DEPTH, INPUTS, OUTPUTS, SHAPES[name]))


def randomised(parameters, seed=1):
    rng = np.random.default_rng(seed)
    return tf.nest.map_structure(lambda p: tf.constant(p + 0.3 * rng.standard_normal(np.shape(p))), parameters)


def run(name, parameters, x, k=0):
    network = NETWORKS[name]
    return network.apply(tf.nest.map_structure(lambda t: t[k], network.prepare(parameters)), x)


def points(name, batch=2):
    return tf.constant(np.random.default_rng(2).standard_normal([batch, *SHAPES[name]]))


every_network = pytest.mark.parametrize("name", SHAPES)


@every_network
def test_output_is_zero_at_first(name):
    parameters = tf.nest.map_structure(lambda p: tf.constant(p, tf.float64), initial(name))
    h = run(name, parameters, points(name))
    np.testing.assert_array_equal(h, np.zeros([2, *SHAPES[name][:-1], OUTPUTS]))


@every_network
def test_parameters_are_stacked_and_drawn_from_the_generator(name):
    parameters = initial(name)
    assert all(p.shape[0] == DEPTH for p in tf.nest.flatten(parameters))
    again, other = initial(name), initial(name, seed=1)
    for a, b in zip(tf.nest.flatten(parameters), tf.nest.flatten(again), strict=True):
        np.testing.assert_array_equal(a, b)
    pairs = zip(tf.nest.flatten(parameters), tf.nest.flatten(other), strict=True)
    assert any((a != b).any() for a, b in pairs)
    # The steps of a stack start from different values.
    assert any((p[0] != p[1]).any() for p in tf.nest.flatten(parameters))


@every_network
def test_shape_and_dependence_on_every_parameter(name):
    parameters = randomised(initial(name))
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        h = run(name, parameters, points(name, batch=8), k=1)
        loss = tf.reduce_sum(tf.sin(h))
    assert h.shape == (8, *SHAPES[name][:-1], OUTPUTS)
    for path, grad in flatten_nest(tape.gradient(loss, parameters)):
        assert np.abs(grad[1]).max() > 0, path
        assert np.abs(grad[0]).max() == 0 and np.abs(grad[2]).max() == 0


@every_network
def test_examples_do_not_influence_each_other(name):
    parameters, x = randomised(initial(name)), points(name)
    h = run(name, parameters, x)
    for i in range(2):
        assert_close(run(name, parameters, x[i : i + 1])[0], h[i])


@every_network
def test_gradients_in_tf32_have_the_shapes_of_the_parameters(name):
    network, mode = NETWORKS[name], Mode(network_precision="tf32")
    parameters = tf.nest.map_structure(lambda p: tf.cast(p[1], tf.float32), randomised(initial(name)))
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        stacked = network.prepare(tf.nest.map_structure(lambda p: p[tf.newaxis], parameters))
        h = network.apply_in(mode, tf.nest.map_structure(lambda t: t[0], stacked), tf.cast(points(name), tf.float32))
    for value, gradient in zip(*map(tf.nest.flatten, (parameters, tape.gradient(h, parameters))), strict=True):
        assert gradient.shape == value.shape


@pytest.mark.parametrize("name,count", [("cnn", 2), ("resnet", 3), ("mlp", 0), ("cnn of sequences", 2)])
def test_initialisation_sets_every_actnorm_and_nothing_else(name, count):
    network = NETWORKS[name]
    parameters = randomised(initial(name))
    x = tf.constant(np.random.default_rng(2).standard_normal([64, *SHAPES[name]]))
    values, h = network.initialize(slices(network, parameters, 1), x)
    paths = dict(flatten_nest(values))
    assert len(paths) == 2 * count and all("actnorm" in path for path in paths)
    # With these values, the network returns the output that the initialisation returned.
    changed = {**dict(flatten_nest(parameters)), **{path: tf.stack([value] * DEPTH) for path, value in paths.items()}}
    assert_close(run(name, unflatten_nest(changed), x, k=1), h)


def test_networks_need_no_more_than_parameters_and_apply():
    network = networks.Network()
    with pytest.raises(NotImplementedError, match="Network defines no apply"):
        network.apply({}, tf.zeros([1, 2]))
    with pytest.raises(ValueError, match="products of a Network are not known"):
        network.products((4, 4, 2), 1, 1, 1)
