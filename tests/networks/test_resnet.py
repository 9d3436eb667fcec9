import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks import Resnet
from tests.networks.random_networks import random_values, slices
from tests.networks.test_convolution import convolve_by_hand, convolve_sequences_by_tensorflow
from tests.tolerances import assert_close


def test_weight_normalisation():
    """The norm of the kernel of each output channel is its magnitude, whatever the norm of its direction."""
    network = Resnet(width=5)
    p = random_values(network, 2, 3, 4)
    tensors = network.prepare(tf.nest.map_structure(tf.constant, p))
    for layer, kernel in (
        (p["enter"], tensors["enter"]["kernel"]),
        (p["block1"]["conv2"], tensors["block1"]["conv2"]["kernel"]),
        (p["leave"], tensors["leave"]["kernel"]),
    ):
        norms = np.sqrt(np.sum(np.square(kernel), axis=(1, 2, 3)))
        assert_close(norms, np.abs(layer["magnitude"]))
    longer = {**p, "enter": {**p["enter"], "direction": 7 * p["enter"]["direction"]}}
    assert_close(
        network.prepare(tf.nest.map_structure(tf.constant, longer))["enter"]["kernel"], tensors["enter"]["kernel"]
    )


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("positions", [(1, 3), (4, 4), (5,)])
def test_by_hand(blocks, positions):
    convolve_by = convolve_by_hand if len(positions) == 2 else convolve_sequences_by_tensorflow
    network, k = Resnet(width=5, blocks=blocks), 1
    p = random_values(network, 2, 3, 4, positions=positions)

    def convolution(layer, x):
        v = layer["direction"][k]
        kernel = layer["magnitude"][k] * v / np.sqrt((v**2).sum(tuple(range(v.ndim - 1))))
        return convolve_by(x, kernel) + layer["bias"][k]

    def norm(layer, x):
        return (x + layer["bias"][k]) * np.exp(3 * layer["logs"][k])

    x = np.random.default_rng(1).standard_normal([2, *positions, 3])
    h = convolution(p["enter"], x)
    for i in range(blocks):
        block = p[f"block{i}"]
        inner = np.maximum(norm(block["actnorm"], convolution(block["conv1"], np.maximum(h, 0))), 0)
        h = h + convolution(block["conv2"], inner)
    h = convolution(p["leave"], np.maximum(norm(p["actnorm"], h), 0))
    expected = h.copy()
    expected[..., 1::2] = p["tanh_factor"][k] * np.tanh(h[..., 1::2])
    assert_close(network.apply(slices(network, p, k), tf.constant(x)), expected)


def test_log_scales_are_bounded():
    network = Resnet(width=5)
    p = random_values(network, 2, 3, 4)
    h = network.apply(slices(network, p, 0), tf.constant(1e4 * np.random.default_rng(2).standard_normal([4, 3, 3, 3])))
    assert np.all(np.abs(h[..., 1::2]) <= np.abs(p["tanh_factor"][0]) + 1e-12)
