"""The reversible gradient equals the stored one: for every model, eagerly, in graphs, and on two replicas."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import Flow, glow
from tests.marks import mostly_slow, slow
from tests.models.flows import CONFIGS, GLOW, random_flow, random_inputs, random_labels, randomise, with_gradient
from tests.tolerances import EXCEPTIONS, GRADIENT, assert_gradient_close

NAMES = [
    *GLOW,
    "glow-mixture_logistic",
    "glow-spline",
    "glow-colour",
    "glow-labels",
    "glow_1d",
    "real_nvp",
    "real_nvp-two-levels",
    "nice",
    "nice-flat",
]
NAMES += ["flow_plus_plus", "flow_plus_plus-labels", "jet", "jet-labels"]


def gradients(flow, x, labels=None, **how):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = -tf.reduce_sum(flow.distribution(labels, **how).log_prob(x)) / flow.config.dimensions
    variables = flow.named_variables(trainable=True)
    # The density does not depend on the noise.
    variables = {name: v for name, v in variables.items() if not name.startswith("dequantizer/")}
    return tape.gradient(loss, {**variables, "x": x})


def assert_equal_gradients(actual, expected, tolerance=GRADIENT):
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert_gradient_close(actual[name], value, tolerance, name)


QUICK = ("glow-conv1x1-affine", "glow-shuffle-additive", "glow-labels", "real_nvp", "nice-flat")


@pytest.mark.parametrize("name", mostly_slow(NAMES, QUICK))
def test_reversible_gradient_is_the_stored_one(name):
    config = CONFIGS[name]
    x, labels = random_inputs(config), random_labels(config)
    reversible = random_flow(with_gradient(config, "reversible"))
    stored = random_flow(with_gradient(config, "stored"))
    expected = gradients(stored, x, labels)
    assert_equal_gradients(gradients(reversible, x, labels), expected)


@pytest.mark.parametrize("name", ["flow_plus_plus", "jet"])
def test_steps_that_are_rebuilt_in_training_drop_the_same_activations(name):
    config, x, seed = CONFIGS[name], random_inputs(CONFIGS[name]), tf.constant([5, 6])
    found = [
        gradients(random_flow(with_gradient(config, gradient)), x, training=training, seed=seed)
        for gradient, training in (("reversible", True), ("stored", True), ("stored", False))
    ]
    assert_equal_gradients(found[0], found[1])
    assert np.abs(found[1]["x"] - found[2]["x"]).max() > 1e-6


@pytest.mark.parametrize("name", mostly_slow(NAMES, ["nice-flat"]))
def test_in_a_graph_the_reversible_gradient_is_that_of_eager_operations(name):
    config = CONFIGS[name]
    x, labels = random_inputs(config), random_labels(config)
    flow = random_flow(with_gradient(config, "reversible"))
    compiled = tf.function(lambda x: gradients(flow, x, labels))
    assert_equal_gradients(compiled(x), gradients(flow, x, labels))


@pytest.mark.parametrize(
    "name,gradient",
    [
        slow(("glow-conv1x1-affine", "reversible")),
        slow(("glow-conv1x1-affine", "stored")),
        ("glow-labels", "reversible"),
        slow(("real_nvp", "reversible")),
        ("nice", "reversible"),
    ],
)
def test_two_replicas_add_up_to_one(name, gradient):
    config = with_gradient(CONFIGS[name], gradient)
    x, labels = random_inputs(config, 4), random_labels(config, 4)
    expected = gradients(random_flow(config), x, labels)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        flow = randomise(Flow(config, dtype=tf.float64))

    def half(tensor):
        if tensor is None:
            return None
        return strategy.experimental_distribute_values_from_function(
            lambda context: tensor[2 * context.replica_id_in_sync_group :][:2]
        )

    step = tf.function(lambda x, labels: strategy.run(lambda x, labels: gradients(flow, x, labels), (x, labels)))
    results = tf.nest.map_structure(strategy.experimental_local_results, step(half(x), half(labels)))
    summed = {name: np.sum([r.numpy() for r in result], axis=0) for name, result in results.items() if name != "x"}
    together = np.concatenate([r.numpy() for r in results["x"]])
    assert_equal_gradients({**summed, "x": together}, expected)


def graph_size(K, gradient):
    """The number of ops in the traced gradient, including its functions."""
    flow = Flow(glow((4, 4, 3), K=K, L=1, width=4, gradient=gradient))
    traced = tf.function(lambda x: gradients(flow, x)).get_concrete_function(tf.TensorSpec([2, 4, 4, 3]))
    graph = traced.graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


@pytest.mark.parametrize("gradient", ["reversible", slow("stored")])
def test_the_graph_does_not_grow_with_depth(gradient):
    """The time to trace and compile it does not grow either."""
    assert graph_size(64, gradient) < 1.02 * graph_size(4, gradient)


@pytest.mark.parametrize(
    "coupling,dtype,tolerance",
    [
        ("affine", "float32", EXCEPTIONS["reversible gradient in float32"]),
        ("mixture_logistic", "float32", EXCEPTIONS["reversible gradient in float32"]),
        slow(("spline", "float32", EXCEPTIONS["reversible gradient in float32"])),
        slow(("mixture_logistic", "float64", 1e-9)),
        slow(("spline", "float64", 1e-9)),
    ],
)
def test_reversible_gradient_holds_through_32_steps(coupling, dtype, tolerance):
    """The round trip, which the gradient relies on, holds too."""
    config = glow((8, 8, 3), K=32, L=1, width=8, coupling=coupling)
    x = tf.cast(random_inputs(config), dtype)
    flows = [Flow(with_gradient(config, gradient), dtype=tf.as_dtype(dtype)) for gradient in ("reversible", "stored")]
    for flow in flows:
        randomise(flow, scale=0.02)
    actual, expected = (gradients(flow, x) for flow in flows)
    assert_equal_gradients(actual, expected, tolerance)
    z = flows[0].bijector().forward(x)
    assert np.abs(flows[0].bijector().inverse(tf.identity(z)) - x).max() < tolerance
