"""The base class of dequantizers."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.dequantization import Dequantizer, Uniform
from tests.extending.my_parts import Kumaraswamy
from tests.tolerances import assert_close

IMAGES = tf.constant(np.arange(24).reshape([2, 2, 2, 3]), tf.float64)
# Noise with a density lies in the first 1 - 2^-10 of a bin.
UNIFORM = 12 * (8 * np.log(2) - np.log(1023 / 1024))


@pytest.mark.parametrize(
    ("log_density", "added"),
    [
        (0.0, 0),
        (0, 0),
        (1.5, 18),
        (2, 24),
        (np.float64(0.25), 3),
        (np.array([0.5, 1.0, 1.5]), 12),
        (tf.constant(-0.5, tf.float64), -6),
        (tf.Variable([1.0, 2.0, 3.0], dtype=tf.float64), 24),
    ],
    ids=repr,
)
def test_a_log_density_of_any_kind_is_added(log_density, added):
    _, log_q = Dequantizer().within_bins(IMAGES, tf.zeros_like(IMAGES), log_density)
    assert_close(log_q, np.full(2, UNIFORM + added))


def test_noise_that_gathers_at_the_edge_of_a_bin_has_the_density_that_is_stated():
    """The mean of p / q is the probability of the image, or of the part of its bin that the noise reaches.

    p is a spike of one 2^-14 of a bin, of which one half lies within reach of the noise.
    """
    rng = np.random.default_rng(0)
    u = tf.constant(rng.uniform(size=[100_000, 1]) ** (1 / 500))
    dequantizer = Dequantizer(n_bits=1)
    x, log_q = dequantizer.within_bins(tf.zeros_like(u), u, np.log(500) + 499 * np.log(u))
    edge, width = (1 - 2.0**-10) / 2 - 0.5, 2.0**-15
    density = np.where(np.abs(x - edge) < width / 2, 1 / width, 0)[:, 0]
    ratios = density / np.exp(log_q)
    assert abs(ratios.mean() - 0.5) < 4 * ratios.std() / np.sqrt(ratios.size) < 0.1
    np.testing.assert_array_equal(dequantizer.to_images(x), 0)


def test_uniform_noise_below_the_edge_is_that_of_the_official_code():
    u = tf.constant([[0.0, 0.25, 1023 / 1024, 1 - 2.0**-24]])
    x, log_q = Uniform(n_bits=1).within_bins(128 * tf.ones_like(u), u)
    np.testing.assert_array_equal(x, [[0.0, 0.125, 1023 / 2048, 1023 / 2048]])
    assert_close(log_q, [4 * np.log(2)], 1e-6)


@pytest.mark.parametrize("log_a", [-8.0, 0.0, 8.0])
def test_the_example_is_finite_in_float32(log_a):
    config = glow_tf.ModelConfig(name="one", image_shape=(4, 4, 1), layers=(), dequantizer=Kumaraswamy(n_bits=5))
    flow = glow_tf.Flow(config)
    (variable,) = flow.trainable_variables
    variable.assign([log_a])
    data = np.random.default_rng(0).integers(0, 256, [64, 4, 4, 1], np.uint8)
    with tf.GradientTape() as tape:
        x, log_q = flow.dequantize(data)
    np.testing.assert_array_equal(config.dequantizer.to_images(x), data & 0xF8)
    assert np.all(np.isfinite(log_q)) and np.all(np.isfinite(tape.gradient(log_q, variable)))
