import math

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks import Vit
from glow_tf.parameters import flatten_nest
from tests.networks.random_networks import random_values, slices
from tests.networks.test_attention import heads_by_hand, norm_by_hand
from tests.tolerances import assert_close


def linear(layer, h):
    return h @ layer["kernel"] + layer["bias"]


def gelu(h):
    """The tanh approximation (Hendrycks & Gimpel 2016, section 2), with a float32 constant as in TensorFlow."""
    return 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + np.float32(0.044715) * h**3)))


def transformer_by_hand(p, tokens, blocks, heads, dropped=1.0):
    """Applies the transformer to the tokens of one example, [T, inputs]; dropout multiplies by `dropped`."""
    h = linear(p["enter"], tokens) + p["position"]
    for i in range(blocks):
        block = p[f"block{i}"]
        attended = heads_by_hand(block["attention"], norm_by_hand(block["norm1"], h), heads)
        h = h + dropped * linear(block["mix"], attended)
        hidden = gelu(linear(block["mlp1"], norm_by_hand(block["norm2"], h)))
        h = h + dropped * linear(block["mlp2"], dropped * hidden)
    return linear(p["leave"], norm_by_hand(p["norm"], h))


@pytest.mark.parametrize("depth,heads,width", [(1, 3, 7), (2, 2, 6)])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_images_by_hand(depth, heads, width, patch_size):
    network = Vit(width=width, depth=depth, heads=heads, patch_size=patch_size)
    values = random_values(network, 2, 3, 4, positions=(4, 6))
    p = tf.nest.map_structure(lambda value: value[1], values)
    x = np.random.default_rng(1).standard_normal([2, 4, 6, 3])
    corners = [(i, j) for i in range(0, 4, patch_size) for j in range(0, 6, patch_size)]
    expected = np.zeros([2, 4, 6, 4])
    for example in range(2):
        tokens = [x[example, i : i + patch_size, j : j + patch_size].ravel() for i, j in corners]
        found = transformer_by_hand(p, np.stack(tokens), depth, heads)
        for (i, j), patch in zip(corners, found, strict=True):
            outputs = patch.reshape([patch_size, patch_size, 4])
            expected[example, i : i + patch_size, j : j + patch_size] = outputs
    assert_close(network.apply(slices(network, values, 1), tf.constant(x)), expected)


def test_sequences_by_hand():
    network = Vit(width=6, depth=1, heads=2, patch_size=3)
    values = random_values(network, 1, 2, 4, positions=(9,))
    p = tf.nest.map_structure(lambda value: value[0], values)
    x = np.random.default_rng(1).standard_normal([1, 9, 2])
    tensors = slices(network, values, 0)
    expected = transformer_by_hand(p, x.reshape([3, 6]), 1, 2).reshape([1, 9, 4])
    assert_close(network.apply(tensors, tf.constant(x)), expected)
    # A doubling in place of dropout shows where it is.
    expected = transformer_by_hand(p, x.reshape([3, 6]), 1, 2, dropped=2.0).reshape([1, 9, 4])
    assert_close(network.evaluate(tensors, tf.constant(x), None, lambda h: 2 * h, "float32"), expected)


@pytest.mark.parametrize(("depth", "count"), [(2, 6_474_288), (5, 15_931_440)])
def test_parameters_of_the_published_networks(depth, count):
    """For a coupling of 16x16 patches of 4x4x3, conditioned on half of the channels: big_vision's imagenet64.py."""
    nest = Vit(width=512, depth=depth, heads=8).parameters(np.random.default_rng(0), 1, 24, 48, (16, 16, 48))
    block = 4 * (512**2 + 512) + (512 * 2048 + 2048) + (2048 * 512 + 512) + 2 * 2 * 512
    by_hand = (24 * 512 + 512) + 256 * 512 + depth * block + 2 * 512 + (512 * 48 + 48)
    assert sum(math.prod(parameter.shape) for _, parameter in flatten_nest(nest)) == by_hand == count


def test_products_by_hand():
    products = Vit(width=6, depth=3, heads=2, patch_size=2).products((4, 6, 3), 7, 3, 8)
    n = 7 * 6
    # Queries, keys and values; logits and means over 6 patches in two heads of 3 channels; output projection; MLP.
    block = 6 * 18 + 2 * 3 * 6 + 2 * 6 * 3 + 6 * 6 + 6 * 24 + 24 * 6
    assert sum(product.flops for product in products) == 2 * n * (12 * 6 + 3 * block + 6 * 32)
