import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks import GatedConvolutions
from tests.networks.random_networks import initial_values, random_values, slices
from tests.networks.test_attention import norm_by_hand
from tests.networks.test_convolution import convolve_by_hand, convolve_sequences_by_tensorflow
from tests.networks.test_gated_attention import concat_elu, gate, gated_attention_by_hand
from tests.tolerances import assert_close


@pytest.mark.parametrize("normalized,heads", [(False, 0), (True, 0), (True, 2), (False, 3)])
@pytest.mark.parametrize("positions", [(2, 3), (5,)])
@pytest.mark.parametrize("dropped", [1.0, 2.0])
def test_by_hand(positions, normalized, heads, dropped):
    """A doubling in place of dropout shows where it is."""
    convolve_by = convolve_by_hand if len(positions) == 2 else convolve_sequences_by_tensorflow
    network, k = GatedConvolutions(blocks=2, normalized=normalized, heads=heads), 1
    values = random_values(network, 2, 3, 4, positions=positions)
    p = tf.nest.map_structure(lambda value: value[k], values)

    def convolution(layer, h):
        return convolve_by(h, layer["kernel"]) + layer["bias"]

    def norm(block, name, h):
        return norm_by_hand(block[name], h) if normalized else h

    x = np.random.default_rng(1).standard_normal([2, *positions, 3])
    h = convolution(p["enter"], x)
    for i in range(2):
        block = p[f"block{i}"]
        inner = dropped * concat_elu(convolution(block["conv1"], concat_elu(h)))
        h = norm(block, "norm1", h + gate(convolution(block["conv2"], inner)))
        if heads:
            h = norm(block, "norm2", h + gated_attention_by_hand(block, h, p["position"], heads, dropped))
    tensors = slices(network, values, k)
    if dropped == 1:
        assert_close(network.apply(tensors, tf.constant(x)), h)
    assert_close(network.evaluate(tensors, tf.constant(x), None, lambda h: dropped * h, "float32"), h)


def test_activations_keep_their_variance_at_first():
    network = GatedConvolutions(blocks=3)
    values = initial_values(network.parameters(np.random.default_rng(0), 1, 6, 32, (16, 16, 6)))
    values = tf.nest.map_structure(lambda value: value.astype(np.float64), values)
    x = tf.random.stateless_normal([4, 16, 16, 6], [0, 1], dtype=tf.float64)
    assert 0.8 < np.std(network.apply(slices(network, values, 0), x)) < 1.2


def test_dropout_in_training_alone():
    network = GatedConvolutions(blocks=1, dropout=0.5)
    tensors = slices(network, random_values(network, 1, 3, 4), 0)
    x = tf.ones([2, 4, 4, 3], tf.float64)
    at_rest = network.apply(tensors, x)
    first, again, other = (network.apply(tensors, x, None, True, tf.constant([0, seed])) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - at_rest).max() > 0.1 and np.abs(first - other).max() > 0.1
    with pytest.raises(ValueError, match="dropout=0.5 needs a seed"):
        network.apply(tensors, x, None, True)


def test_products_by_hand():
    n = 7 * 4 * 5
    products = GatedConvolutions(blocks=2).products((4, 5, 3), 7, 3, 8)
    convolutions = 2 * n * 9 * (3 * 8 + 2 * (16 * 8 + 16 * 16))
    assert sum(product.flops for product in products) == convolutions
    attentive = GatedConvolutions(blocks=2, normalized=True, heads=2).products((4, 5, 3), 7, 3, 8)
    # Queries, keys and values; logits and means over 20 positions in two heads of 4 channels; the gate's input.
    attention = 2 * n * (8 * 24 + 2 * 4 * 20 + 2 * 20 * 4 + 8 * 16)
    assert sum(product.flops for product in attentive) == convolutions + 2 * attention


def test_a_negative_number_of_heads():
    with pytest.raises(ValueError, match="heads=-1 must be an integer of at least 0"):
        GatedConvolutions(heads=-1)
