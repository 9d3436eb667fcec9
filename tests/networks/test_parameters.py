import numpy as np
import tensorflow as tf

from glow_tf.networks import parameters
from tests.tolerances import assert_close


def test_scaled_keeps_what_is_not_a_logarithm():
    layer = {"kernel": tf.constant([2.0]), "bias": tf.constant([1.0]), "logs": tf.constant([0.5])}
    tensors = parameters.scaled(layer)
    assert set(tensors) == {"kernel", "bias", "log_scale"}
    assert tensors["kernel"] is layer["kernel"]
    assert_close(tensors["log_scale"], [1.5])


def test_actnorm_by_hand():
    h = np.random.default_rng(0).standard_normal([2, 3, 3, 2])
    bias, log_scale = np.array([1.0, -0.5]), np.array([0.3, -2.0])
    y = parameters.actnorm({"bias": tf.constant(bias), "log_scale": tf.constant(log_scale)}, tf.constant(h))
    assert_close(y, (h + bias) * np.exp(log_scale))


def test_actnorm_parameters_start_as_the_identity():
    p = parameters.actnorm_parameters(3, 5)
    assert {name: value.shape for name, value in p.items()} == {"bias": (3, 5), "logs": (3, 5)}
    assert not any(value.any() for value in p.values())


def test_normal():
    draws = parameters.normal(np.random.default_rng(0), 0.05, [50, 40])
    assert draws.shape == (50, 40)
    assert abs(draws.std() / 0.05 - 1) < 0.05 and abs(draws.mean()) < 0.005
    np.testing.assert_array_equal(draws, parameters.normal(np.random.default_rng(0), 0.05, [50, 40]))
