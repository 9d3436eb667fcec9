import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.layers import Squeeze, Steps
from glow_tf.mode import Mode
from glow_tf.networks import Cnn, ContextChannels, Resnet
from tests.extending.my_parts import Dense
from tests.networks.random_networks import initial_values, random_values, slices
from tests.tolerances import assert_close


@pytest.mark.parametrize("inner", [Cnn(width=5, num_classes=3), Resnet(width=5, blocks=1)])
def test_it_is_the_network_of_the_joined_channels(inner):
    network = ContextChannels(inner=inner, channels=2, key="depth_map")
    values = random_values(inner, 3, 6, 4)
    given = initial_values(network.parameters(np.random.default_rng(0), 3, 4, 4, (4, 4, 4)))
    tf.nest.assert_same_structure(given, values)
    rng = np.random.default_rng(1)
    x, added = (tf.constant(rng.standard_normal([2, 4, 4, channels])) for channels in (4, 2))
    context = {"depth_map": added, "labels": tf.constant([2, 0])}
    tensors = slices(inner, values, 1)
    expected = inner.apply(tensors, tf.concat([x, added], -1), context)
    assert_close(network.apply(tensors, x, context), expected)
    assert_close(network.apply_in(Mode(), tensors, x, context), expected)
    for found, wanted in zip(
        network.initialize(tensors, x, context),
        inner.initialize(tensors, tf.concat([x, added], -1), context),
        strict=True,
    ):
        tf.nest.map_structure(assert_close, found, wanted)
    assert network.num_classes_needed() == inner.num_classes_needed()
    assert network.products((4, 4, 8), 2, 4, 4) == inner.products((4, 4, 8), 2, 6, 4)
    assert network.hidden_channels() == 5 and not network.is_random
    assert ContextChannels(inner=Dense(width=2)).is_random


def test_a_flow_conditioned_on_an_image():
    network = ContextChannels(inner=Cnn(width=4), channels=2)
    layers = (Squeeze(), Steps(depth=2, network=network))
    config = glow_tf.ModelConfig(name="conditioned", image_shape=(8, 8, 1), layers=layers)
    assert glow_tf.ModelConfig.from_json(config.to_json()) == config
    flow = glow_tf.Flow(config, dtype=tf.float64)
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.1 * rng.standard_normal(variable.shape))
    images = tf.constant(rng.integers(0, 256, [3, 8, 8, 1]), tf.uint8)
    context = {"image": tf.constant(rng.standard_normal([3, 4, 4, 2]))}
    other = {"image": -context["image"]}
    z = flow.encode(images, context=context)
    assert np.all(np.abs(z - flow.encode(images, context=other)).max(-1) > 1e-3)
    np.testing.assert_array_equal(flow.decode(z, context=context), images)
    with pytest.raises(ValueError, match="'image', which conditions the coupling networks, is missing"):
        flow.encode(images)
    with pytest.raises(ValueError, match=r"must have shape \[B, 4, 4, 2\].* this one has \(3, 8, 8, 2\)"):
        flow.encode(images, context={"image": tf.zeros([3, 8, 8, 2])})
