import numpy as np
import tensorflow as tf

from glow_tf.networks import actnorm
from tests.tolerances import assert_close


def test_scaled_keeps_what_is_not_a_logarithm():
    layer = {"kernel": tf.constant([2.0]), "bias": tf.constant([1.0]), "logs": tf.constant([0.5])}
    tensors = actnorm.scaled(layer)
    assert set(tensors) == {"kernel", "bias", "log_scale"}
    assert tensors["kernel"] is layer["kernel"]
    assert_close(tensors["log_scale"], [1.5])


def test_actnorm_by_hand():
    h = np.random.default_rng(0).standard_normal([2, 3, 3, 2])
    bias, log_scale = np.array([1.0, -0.5]), np.array([0.3, -2.0])
    y = actnorm.apply({"bias": tf.constant(bias), "log_scale": tf.constant(log_scale)}, tf.constant(h))
    assert_close(y, (h + bias) * np.exp(log_scale))


def test_the_initializer_normalises_and_keeps_what_it_used():
    rng = np.random.default_rng(1)
    h = 3 + 5 * rng.standard_normal([64, 2, 2, 3])
    first = {"bias": tf.zeros([3], tf.float64), "log_scale": tf.zeros([3], tf.float64)}
    nest = {"conv": {"kernel": tf.zeros([1])}, "inner": {"first": first}, "other": dict(first)}
    initializer = actnorm.Initializer()
    y = initializer(first, tf.constant(h)).numpy()
    assert_close(y.mean((0, 1, 2)), np.zeros(3))
    assert_close(y.std((0, 1, 2)), np.ones(3))
    values = initializer.values(nest)
    assert list(values) == ["inner"] and list(values["inner"]) == ["first"]
    assert_close(actnorm.apply(actnorm.scaled(values["inner"]["first"]), tf.constant(h)), y)
