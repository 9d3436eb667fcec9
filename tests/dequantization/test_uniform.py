import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.dequantization import Uniform, random
from tests.tolerances import assert_close

EVERY_LEVEL = tf.constant(np.arange(256).reshape([1, 16, 16, 1]), tf.uint8)


@pytest.mark.parametrize("n_bits", range(1, 9))
def test_quantize(n_bits):
    expected = np.floor(np.arange(256) / 2 ** (8 - n_bits)) / 2**n_bits - 0.5
    quantized = Uniform(n_bits=n_bits).quantize(EVERY_LEVEL).numpy().ravel()
    np.testing.assert_array_equal(quantized, expected.astype(np.float32))
    assert len(np.unique(quantized)) == 2**n_bits
    assert quantized.min() == -0.5 and quantized.max() == 0.5 - 2.0**-n_bits


@pytest.mark.parametrize("n_bits", range(1, 9))
def test_what_comes_back_are_the_leading_bits(n_bits):
    leading = np.arange(256) & (0xFF << (8 - n_bits) & 0xFF)
    uniform, images = Uniform(n_bits=n_bits), tf.cast(EVERY_LEVEL, tf.float32)
    noisy, _ = uniform.noise(images, {}, tf.constant([1, 2]))
    for there in (uniform.center(images), noisy, uniform.quantize(images)):
        back = uniform.to_images(there)
        assert back.dtype == tf.uint8
        np.testing.assert_array_equal(back.numpy().ravel(), leading)


@hypothesis.given(n_bits=st.integers(1, 8), seed=st.integers(-(2**31), 2**31 - 1))
def test_dequantize_stays_in_its_bin(n_bits, seed):
    images = tf.constant(np.random.default_rng(0).integers(0, 256, [64, 8, 8, 3]), tf.float32)
    edge = np.floor(images.numpy() / 2 ** (8 - n_bits)) / np.float32(2**n_bits) - np.float32(0.5)
    x, log_q = Uniform(n_bits=n_bits).noise(images, {}, tf.constant([0, seed]))
    assert_close(log_q, np.full(64, 192 * n_bits * np.log(2)), 1e-6)
    noise = (x.numpy() - edge) * 2**n_bits
    assert noise.min() >= 0 and noise.max() < 1
    assert abs(noise.mean() - 0.5) < 0.02 and abs(noise.std() - 12**-0.5) < 0.02


def test_dequantize_is_drawn_from_its_seed():
    images = tf.cast(EVERY_LEVEL, tf.float32)
    first, again, other = (Uniform().noise(images, {}, tf.constant([0, s]))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_noise_of_each_image_depends_on_image_and_seed_alone():
    images = np.random.default_rng(0).integers(0, 256, [64, 8, 8, 3]).astype(np.uint8)
    images[1], images[2] = images[0], 0
    images[3] = images[0]
    images[3, 0, 0, 0] ^= 1

    def noise(batch, seed):
        seeds = random.seeds_of(tf.constant(batch), tf.constant([0, seed]))
        found, _ = Uniform().noise(tf.cast(batch, tf.float64), {}, seeds)
        return (found - (batch / 256 - 0.5)).numpy() * 256

    in_a_batch = noise(images, 7)
    np.testing.assert_array_equal(in_a_batch[5:6], noise(images[5:6], 7))
    np.testing.assert_array_equal(in_a_batch[::-1], noise(images[::-1], 7))
    np.testing.assert_array_equal(in_a_batch[0], in_a_batch[1])
    # Black images and those that differ in one pixel also have noise of their own, and each seed gives other noise.
    drawn = [*in_a_batch[[0, 2, 3, 4]], *noise(images, 8)[[0, 2, 3, 4]]]
    correlations = np.corrcoef([n.ravel() for n in drawn])
    assert np.abs(correlations - np.eye(len(drawn))).max() < 0.3
    assert in_a_batch.min() >= 0 and in_a_batch.max() < 1
    assert abs(in_a_batch.mean() - 0.5) < 0.02 and abs(in_a_batch.std() - 12**-0.5) < 0.02


def test_to_images_clips():
    x = tf.constant([-np.inf, -7.0, -0.5, 0.49999, 0.5, 9.0, np.inf])
    assert Uniform().to_images(x).numpy().tolist() == [0, 0, 0, 255, 255, 255, 255]
    # Values above the last level are clipped to 255, whatever the number of bits, as in the official code.
    assert Uniform(n_bits=5).to_images(tf.constant([0.49, 0.51])).numpy().tolist() == [248, 255]


@pytest.mark.parametrize("n_bits", range(1, 9))
def test_displayed_levels_are_spread_and_stay_what_they_are(n_bits):
    uniform = Uniform(n_bits=n_bits)
    shown = uniform.displayed(EVERY_LEVEL.numpy())
    levels = [int(value, 2) for value in (f"{value:08b}"[:n_bits] for value in range(256))]
    exact = np.array(levels) * (255 / (2**n_bits - 1))
    assert shown.dtype == np.uint8 and shown.shape == EVERY_LEVEL.shape
    assert np.abs(shown.ravel() - exact).max() <= 0.5
    assert (shown.min(), shown.max(), len(np.unique(shown))) == (0, 255, 2**n_bits)
    np.testing.assert_array_equal(uniform.quantize(shown), uniform.quantize(EVERY_LEVEL))
    np.testing.assert_array_equal(uniform.displayed(shown), shown)
    traced = tf.function(uniform.displayed)(EVERY_LEVEL)
    assert traced.dtype == tf.uint8
    np.testing.assert_array_equal(traced, shown)


def test_displayed_white_is_one_white():
    uniform = Uniform(n_bits=5)
    # The brightest bin, and values above it.
    decoded = uniform.to_images(tf.constant([0.49, 0.51, 9.0]))
    assert uniform.displayed(decoded).numpy().tolist() == [255, 255, 255]
    assert uniform.displayed(np.uint8([0, 8, 128, 240])).tolist() == [0, 8, 132, 247]


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_dtype(dtype):
    images = tf.cast(EVERY_LEVEL, dtype)
    assert Uniform().center(images).dtype == dtype
    assert {t.dtype for t in Uniform().noise(images, {}, tf.constant([0, 0]))} == {dtype}
