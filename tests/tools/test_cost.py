"""Counts of matrix products, compared with counts by hand."""

import dataclasses

import pytest

import glow_tf
from glow_tf import dequantization, layers, networks
from glow_tf.flops import Product
from tools.cost import flops, products


def test_a_product_by_hand():
    # [2, 3] x [3, 5]: ten numbers, each from three multiplications and three additions.
    assert Product(2, 3, 5).flops == 60
    # Y = X W: dX = dY W' is [2, 5] x [5, 3], dW = X' dY is [3, 2] x [2, 5].
    assert Product(2, 3, 5).gradients() == (Product(2, 5, 3), Product(3, 2, 5))


def test_a_single_step_by_hand():
    # 4x4x3 becomes 2x2x12, and a single level has no split: 10 images have 40 positions.
    config = glow_tf.glow((4, 4, 3), K=1, L=1, width=16)
    assert products(config, 10) == {
        Product(40, 12, 12): 1,  # the 1x1 convolution
        Product(40, 9 * 6, 16): 1,  # 6 conditioning channels
        Product(40, 16, 16): 1,
        Product(40, 16, 9 * 12): 1,  # a shift and a scale for each of the 6 other channels
    }
    assert flops(products(config, 10)) == 2 * 40 * (144 + 864 + 256 + 1728)


def test_levels_depth_and_coupling_by_hand():
    config = glow_tf.glow((8, 8, 1), K=3, L=2, width=8, coupling="additive", permutation="shuffle")
    # 4x4x4, split into 2 + 2 channels; then 2x2x8. One image has 16 and 4 positions.
    assert products(config, 1) == {
        Product(16, 18, 8): 3,
        Product(16, 8, 8): 3,
        Product(16, 8, 18): 3,
        Product(16, 18, 4): 1,  # the prior of the channels split off
        Product(4, 36, 8): 3,
        Product(4, 8, 8): 3,
        Product(4, 8, 36): 3,
    }


def test_a_sequence_by_hand():
    # [8, 1] becomes [4, 2], split into 1 + 1 channels; then [2, 2]. Three sequences have 12 and 6 positions.
    steps = layers.Steps(depth=2, network=networks.Cnn(width=16))
    parts = (layers.Squeeze(), steps, layers.Split(), layers.Squeeze(), steps)
    config = glow_tf.ModelConfig(name="sequence", image_shape=(8, 1), layers=parts)
    assert products(config, 3) == {
        Product(12, 2, 2): 2,  # the 1x1 convolutions
        Product(12, 3 * 1, 16): 2,
        Product(12, 16, 16): 2,
        Product(12, 16, 3 * 2): 2,  # a shift and a scale for one channel
        Product(12, 3 * 1, 2): 1,  # the prior of the channels split off
        Product(6, 2, 2): 2,
        Product(6, 3 * 1, 16): 2,
        Product(6, 16, 16): 2,
        Product(6, 16, 3 * 2): 2,
    }


@pytest.mark.parametrize("kind, steps, splits", [("forward", 1, 1), ("stored", 3, 3), ("reversible", 4, 3)])
def test_training_takes_three_or_four_times_the_operations(kind, steps, splits):
    config = glow_tf.glow((8, 8, 3), K=2, L=2, width=16)
    split = 2 * 4 * 4 * 5 * (9 * 6) * 12
    step_flops = flops(products(config, 5)) - split
    assert flops(products(config, 5, kind)) == steps * step_flops + splits * split


@pytest.mark.parametrize("kind, steps", [("forward", 1), ("stored", 3), ("reversible", 4)])
def test_the_noise_of_dequantization(kind, steps):
    # 8x8x3 becomes 4x4x12. The networks see half of the noise and the image, 6 + 12 channels.
    network = networks.Resnet(width=16, blocks=2)
    learned = dequantization.Variational(network=network, depth=3)
    coupling = 2 * 16 * (9 * 18 * 16 + 4 * 9 * 16 * 16 + 16 * 12)
    config = glow_tf.ModelConfig(name="one", image_shape=(8, 8, 3), layers=(layers.Flatten(),), dequantizer=learned)
    assert flops(products(config, 5, kind)) == steps * 5 * 3 * coupling
    plain = glow_tf.glow((8, 8, 3), K=2, L=1, width=4)
    with_noise = dataclasses.replace(plain, dequantizer=learned)
    added = flops(products(with_noise, 5, kind)) - flops(products(plain, 5, kind))
    assert added == steps * 5 * 3 * coupling


def test_the_published_model_of_256x256():
    # Nearly all of it is in the 512x512 and 3x3 convolutions: 32 steps at side^2 positions per image on each level.
    config = glow_tf.glow((256, 256, 3), K=32, L=6, width=512)
    by_hand = 0
    channels, side = 12, 128
    for level in range(6):
        step = channels**2 + 9 * channels // 2 * 512 + 512**2 + 512 * 9 * channels
        by_hand += 2 * side**2 * 32 * step
        if level < 5:
            by_hand += 2 * side**2 * 9 * channels // 2 * channels
        channels, side = 2 * channels, side // 2
    assert flops(products(config, 1)) == by_hand


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="products of a Mlp are not known"):
        products(glow_tf.nice((4, 4, 1), width=4), 1)
    with pytest.raises(ValueError, match="kind='twice'"):
        products(glow_tf.glow((4, 4, 3), K=1, L=1, width=4), 1, "twice")
