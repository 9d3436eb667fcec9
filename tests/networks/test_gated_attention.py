import math

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks import GatedAttention
from glow_tf.parameters import flatten_nest
from tests.networks.random_networks import initial_values, random_values, slices
from tests.networks.test_attention import heads_by_hand, norm_by_hand
from tests.networks.test_convolution import convolve_by_hand, convolve_sequences_by_tensorflow
from tests.tolerances import assert_close


def concat_elu(h):
    both = np.concatenate([h, -h], axis=-1)
    return np.where(both > 0, both, np.expm1(np.minimum(both, 0)))


def gate(h):
    a, b = np.split(h, 2, axis=-1)
    return a / (1 + np.exp(-b))


def gated_attention_by_hand(block, h, position, heads, dropped=1.0):
    """Gated self-attention over the positions of h, [B, ..., width]; dropout multiplies by `dropped`."""
    examples, *positions, width = h.shape
    tokens = np.reshape(h + position, [examples, math.prod(positions), width])
    attended = np.stack([heads_by_hand(block["attention"], example, heads) for example in tokens])
    attended = dropped * np.reshape(attended, [examples, *positions, -1])
    return gate(attended @ block["mix"]["kernel"] + block["mix"]["bias"])


# With 7 hidden channels, each of 3 heads has 3.
@pytest.mark.parametrize("blocks,heads,width,final_elu", [(1, 3, 7, False), (2, 2, 6, True), (2, 0, 6, False)])
@pytest.mark.parametrize("positions,channels", [((2, 3), 0), ((5,), 0), ((2, 3), 5)])
@pytest.mark.parametrize("dropped", [1.0, 2.0])
def test_by_hand(blocks, heads, width, final_elu, positions, channels, dropped):
    """A doubling in place of dropout shows where it is."""
    convolve_by = convolve_by_hand if len(positions) == 2 else convolve_sequences_by_tensorflow
    network = GatedAttention(width=width, blocks=blocks, heads=heads, final_elu=final_elu, image_channels=channels)
    k = 1
    values = random_values(network, 2, 3, 4, positions=positions)
    p = tf.nest.map_structure(lambda value: value[k], values)

    def convolution(layer, h):
        return convolve_by(h, layer["kernel"]) + layer["bias"]

    def linear(layer, h):
        return h @ layer["kernel"] + layer["bias"]

    x = np.random.default_rng(1).standard_normal([2, *positions, 3])
    image = np.random.default_rng(2).standard_normal([2, *positions, channels])
    h = convolution(p["enter"], x)
    for i in range(blocks):
        block = p[f"block{i}"]
        inner = convolution(block["conv1"], concat_elu(h))
        if channels:
            inner += linear(block["context"], concat_elu(image))
        inner = dropped * concat_elu(inner)
        h = norm_by_hand(block["norm1"], h + gate(linear(block["conv2"], inner)))
        if heads:
            h = norm_by_hand(block["norm2"], h + gated_attention_by_hand(block, h, p["position"], heads, dropped))
    expected = convolution(p["leave"], concat_elu(h) if final_elu else h)
    given = slices(network, values, k), tf.constant(x), {"image": tf.constant(image)} if channels else None
    if dropped == 1:
        assert_close(network.apply(*given), expected)
    assert_close(network.evaluate(*given, lambda h: dropped * h, "float32"), expected)


def test_initial_weights_keep_variances():
    network = GatedAttention(width=64, blocks=1)
    p = initial_values(network.parameters(np.random.default_rng(0), 1, 6, 12, (8, 8, 6)))
    x = np.random.default_rng(1).standard_normal([4, 8, 8, 6])
    entered = convolve_by_hand(x, p["enter"]["kernel"][0])
    # Variances are smaller at the border.
    assert 0.8 < entered[:, 1:-1, 1:-1].std() < 1.2
    attention = np.random.default_rng(2).standard_normal([1000, 64]) @ p["block0"]["attention"]["kernel"][0]
    assert abs(attention.std() - 1) < 0.05
    assert abs(p["position"].std() - 0.01) < 1e-3


# Input channels, positions and number of the couplings in the official code for CIFAR-10: columns of 32x32x3, channels
# of 16x16x12 and columns of 16x16x12, with 2 + 3 * 32 outputs per channel.
CIFAR10 = [(3, (32, 16), 4), (6, (16, 16), 2), (12, (16, 8), 3)]


def test_as_many_parameters_as_in_the_official_code():
    """Its 31,443,440 less those of dequantization (3,466,976), normalisations (55,296) and 1x1 convolutions (1,080)."""
    network, total = GatedAttention(width=96, blocks=10), 0
    for channels, positions, count in CIFAR10:
        nest = network.parameters(np.random.default_rng(0), 1, channels, channels * 98, (*positions, channels))
        total += count * sum(math.prod(parameter.shape) for _, parameter in flatten_nest(nest))
    assert total == 31_443_440 - 3_466_976 - 55_296 - 1_080 == 27_920_088


def test_the_image_it_sees_must_be_there():
    network = GatedAttention(width=6, blocks=1, heads=2, image_channels=5)
    tensors = slices(network, random_values(network, 1, 3, 4), 0)
    x = tf.zeros([2, 4, 4, 3], tf.float64)
    with pytest.raises(ValueError, match="'image', which conditions the coupling networks, is missing"):
        network.apply(tensors, x)
    with pytest.raises(ValueError, match=r"must have shape \[B, 4, 4, 5\]"):
        network.apply(tensors, x, {"image": tf.zeros([2, 4, 4, 3])})


def test_products_by_hand():
    products = GatedAttention(width=6, blocks=2, heads=2).products((4, 5, 3), 7, 3, 8)
    n = 7 * 4 * 5
    enter, leave = 2 * n * 9 * 3 * 6, 2 * n * 9 * 6 * 8
    convolutions = 2 * n * (9 * 12 * 6 + 12 * 12)
    # Queries, keys and values; logits and means over 20 positions in two heads of 3 channels; the gate's input.
    attention = 2 * n * (6 * 18 + 2 * 3 * 20 + 2 * 20 * 3 + 6 * 12)
    total = enter + leave + 2 * (convolutions + attention)
    assert sum(product.flops for product in products) == total
    seeing = GatedAttention(width=6, blocks=2, heads=2, image_channels=5).products((4, 5, 3), 7, 3, 8)
    assert sum(product.flops for product in seeing) == total + 2 * (2 * n * 10 * 6)
    plain = GatedAttention(width=6, blocks=2, heads=0, final_elu=True).products((4, 5, 3), 7, 3, 8)
    assert sum(product.flops for product in plain) == enter + 2 * leave + 2 * convolutions
