"""A flow's runtime decides where and how it is computed."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.analysis.codec import Codec
from glow_tf.runtime import devices
from tests.marks import slow
from tests.models.flows import CONFIGS, random_flow, random_images, random_labels


@pytest.fixture
def unasked(monkeypatch):
    """Makes TensorFlow fail if it is asked for its devices or threads."""

    def asked(*_):
        raise AssertionError("TensorFlow was asked.")

    for path in ("get_visible_devices", "list_physical_devices", "threading.get_intra_op_parallelism_threads"):
        monkeypatch.setattr(f"tensorflow.config.{path}", asked)


@pytest.mark.parametrize("device", [slow("CPU"), "GPU"])
@pytest.mark.parametrize("name", ["glow-labels", slow("real_nvp")])
def test_nothing_is_asked_of_tensorflow_while_a_flow_is_traced(request, name, device):
    config = CONFIGS[name]
    flow, images, labels = random_flow(config, tf.float32), random_images(config), random_labels(config)
    flow.runtime = glow_tf.Runtime(device=device, shards=2)
    request.getfixturevalue("unasked")

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(flow.distribution(labels).log_prob(flow.centers(images)))
        return tape.gradient(loss, list(flow.trainable_variables)), flow.value_and_gradients(images, labels, seed=0)

    gradients.get_concrete_function()
    np.testing.assert_array_equal(flow.decode(flow.encode(images, labels), labels).shape, images.shape)
    assert Codec(flow, 2).encode(images.numpy(), None if labels is None else np.asarray(labels)).shape[0] == len(images)


def products_of(flow, images):
    """Returns the number of bitcasts, which only split products, as for GPUs, have."""

    @tf.function(autograph=False)
    def gradients():
        # Without noise, whose floats are bitcast too.
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(flow.distribution().log_prob(flow.centers(images)))
        return tape.gradient(loss, list(flow.trainable_variables))

    graph = gradients.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return sum(node.op == "Bitcast" for node in nodes)


def test_operations_are_made_for_its_device_whatever_the_process_has():
    flow, images = random_flow(CONFIGS["glow-colour"], tf.float32), random_images(CONFIGS["glow-colour"])
    found = {}
    for device in ("CPU", "GPU"):
        flow.runtime = glow_tf.Runtime(device=device)
        found[device] = products_of(flow, images)
    assert found["CPU"] == 0 < found["GPU"]
    # As an export does.
    with devices.made_for("CPU"):
        assert products_of(flow, images) == 0


def test_a_gradient_is_made_for_the_device_of_its_function():
    a, b = tf.constant([[1.5]]), tf.constant([[2.5]])

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(a)
            with devices.made_for("GPU"):
                product = glow_tf.runtime.products.matmul(a, b)
        before = len(tf.compat.v1.get_default_graph().get_operations())
        found = tape.gradient(product, a)
        made = tf.compat.v1.get_default_graph().get_operations()[before:]
        assert any(operation.type == "Bitcast" for operation in made)
        return found

    np.testing.assert_array_equal(gradient(), [[2.5]])
