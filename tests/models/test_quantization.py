import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.models import quantization
from tests.tolerances import assert_close

EVERY_LEVEL = tf.constant(np.arange(256).reshape([1, 16, 16, 1]), tf.uint8)


@pytest.mark.parametrize("n_bits", range(1, 9))
def test_quantize(n_bits):
    expected = np.floor(np.arange(256) / 2 ** (8 - n_bits)) / 2**n_bits - 0.5
    quantized = quantization.quantize(EVERY_LEVEL, n_bits).numpy().ravel()
    np.testing.assert_array_equal(quantized, expected.astype(np.float32))
    assert len(np.unique(quantized)) == 2**n_bits
    assert quantized.min() == -0.5 and quantized.max() == 0.5 - 2.0**-n_bits


@pytest.mark.parametrize("n_bits", range(1, 9))
def test_what_comes_back_are_the_leading_bits(n_bits):
    leading = np.arange(256) & (0xFF << (8 - n_bits) & 0xFF)
    for there in (
        quantization.bin_centers(EVERY_LEVEL, n_bits),
        quantization.dequantize(EVERY_LEVEL, n_bits, tf.constant([1, 2])),
        quantization.quantize(EVERY_LEVEL, n_bits),
    ):
        back = quantization.to_images(there, n_bits)
        assert back.dtype == tf.uint8
        np.testing.assert_array_equal(back.numpy().ravel(), leading)


@hypothesis.given(n_bits=st.integers(1, 8), seed=st.integers(-(2**31), 2**31 - 1))
def test_dequantize_stays_in_its_bin(n_bits, seed):
    images = tf.constant(np.random.default_rng(0).integers(0, 256, [64, 8, 8, 3]), tf.uint8)
    edge = quantization.quantize(images, n_bits).numpy()
    noise = (quantization.dequantize(images, n_bits, tf.constant([0, seed])).numpy() - edge) * 2**n_bits
    assert noise.min() >= 0 and noise.max() < 1
    assert abs(noise.mean() - 0.5) < 0.02 and abs(noise.std() - 12**-0.5) < 0.02


def test_dequantize_is_drawn_from_its_seed():
    first, again, other = (quantization.dequantize(EVERY_LEVEL, 8, tf.constant([0, s])) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_noise_of_each_image_depends_on_image_and_seed_alone():
    images = np.random.default_rng(0).integers(0, 256, [64, 8, 8, 3]).astype(np.uint8)
    images[1], images[2] = images[0], 0
    images[3] = images[0]
    images[3, 0, 0, 0] ^= 1

    def noise(of, seed):
        found = quantization.dequantize_each(tf.constant(of), 8, tf.constant([0, seed]), tf.float64)
        return (found - quantization.quantize(of, 8, tf.float64)).numpy() * 256

    in_a_batch = noise(images, 7)
    np.testing.assert_array_equal(in_a_batch[5:6], noise(images[5:6], 7))
    np.testing.assert_array_equal(in_a_batch[::-1], noise(images[::-1], 7))
    np.testing.assert_array_equal(in_a_batch[0], in_a_batch[1])
    # Black ones and those that differ in one pixel have noise of their own too, and each seed has another.
    drawn = [*in_a_batch[[0, 2, 3, 4]], *noise(images, 8)[[0, 2, 3, 4]]]
    correlations = np.corrcoef([n.ravel() for n in drawn])
    assert np.abs(correlations - np.eye(len(drawn))).max() < 0.3
    assert in_a_batch.min() >= 0 and in_a_batch.max() < 1
    assert abs(in_a_batch.mean() - 0.5) < 0.02 and abs(in_a_batch.std() - 12**-0.5) < 0.02


def test_to_images_clips():
    x = tf.constant([-np.inf, -7.0, -0.5, 0.49999, 0.5, 9.0, np.inf])
    assert quantization.to_images(x, 8).numpy().tolist() == [0, 0, 0, 255, 255, 255, 255]
    # Values above the last level are cut at 255, whatever the number of bits: the official code's rule.
    assert quantization.to_images(tf.constant([0.49, 0.51]), 5).numpy().tolist() == [248, 255]


def test_bits_per_dim_by_hand():
    # A density of 1 on the unit cube: every one of the 2^n levels is equally likely, n bits a dimension.
    for n_bits in (1, 5, 8):
        assert_close(quantization.bits_per_dim(tf.zeros([2], tf.float64), 12, n_bits), np.full(2, float(n_bits)))
    # Halving the density costs one bit, spread over the dimensions.
    log_prob = tf.constant([-np.log(2.0)], tf.float64)
    assert_close(quantization.bits_per_dim(log_prob, 4, 8), [8.25])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_dtype(dtype):
    assert quantization.bin_centers(EVERY_LEVEL, 8, dtype).dtype == dtype
    assert quantization.dequantize(EVERY_LEVEL, 8, tf.constant([0, 0]), dtype).dtype == dtype
