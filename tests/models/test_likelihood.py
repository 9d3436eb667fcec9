"""The likelihood of a batch."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.dequantization import Uniform
from glow_tf.layers import Flatten, Logit
from glow_tf.models.likelihood import likelihood
from tests.tolerances import assert_close


def flow_of(*layers, **fields):
    """A flow on [2, 3, 1] that consists of the given layers and a standard normal base."""
    config = glow_tf.ModelConfig(name="mine", image_shape=(2, 3, 1), layers=layers, **fields)
    return glow_tf.Flow(config, dtype=tf.float64)


@pytest.mark.parametrize("n_bits", [1, 5, 8])
def test_by_hand(n_bits):
    flow = flow_of(Flatten(), dequantizer=Uniform(n_bits=n_bits))
    x = np.random.default_rng(0).uniform(-0.5, 0.5, [4, 2, 3, 1])
    log_q = np.array([6 * n_bits * np.log(2), 0.0, 1.0, -2.0])
    found = likelihood(flow, tf.constant(x), tf.constant(log_q))
    density = np.sum(-0.5 * x**2 - 0.5 * np.log(2 * np.pi), axis=(1, 2, 3))
    assert_close(found.log_prob, density)
    assert_close(found.log_prob_of_latents, density)
    assert_close(found.discrete_log_prob, density - log_q)
    assert_close(found.bits_per_dim, (log_q - density) / (6 * np.log(2)))
    assert_close(found.latents, x.reshape([4, 6]))
    assert_close(found.parts["dequantization"], log_q / (6 * np.log(2)))
    assert_close(sum(found.parts.values()), found.bits_per_dim)


def test_what_no_image_can_be_has_no_density_and_harms_no_other():
    flow = flow_of(Logit())
    x = tf.constant(np.full([2, 2, 3, 1], 0.25))
    apart = tf.concat([x[:1], x[1:] + 7], 0)
    with tf.GradientTape() as tape:
        tape.watch(apart)
        found = likelihood(flow, apart, tf.zeros([2], tf.float64))
        one = found.log_prob[0]
    assert np.isfinite(one) and found.log_prob[1] == -np.inf and found.bits_per_dim[1] == np.inf
    assert_close(one, likelihood(flow, x, tf.zeros([2], tf.float64)).log_prob[0])
    assert np.all(np.isfinite(tape.gradient(one, apart)))
