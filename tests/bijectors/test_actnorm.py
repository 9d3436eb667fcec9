import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import ActNorm
from glow_tf.networks.actnorm import MIN_STDDEV, normalizer
from tests.tolerances import assert_close


def test_formula():
    x = np.random.default_rng(0).standard_normal([2, 3, 4, 2])
    bias, log_scale = np.array([0.5, -2.0]), np.array([0.1, -0.7])
    bijector = ActNorm(tf.constant(bias), tf.constant(log_scale))
    assert_close(bijector.forward(x), (x + bias) * np.exp(log_scale))
    assert_close(bijector.inverse(tf.constant(x)), x / np.exp(log_scale) - bias)
    assert_close(bijector.forward_log_det_jacobian(tf.constant(x)), np.full(2, 3 * 4 * (0.1 - 0.7)))


def test_flat_events():
    bijector = ActNorm(tf.constant([1.0, 2.0]), tf.constant([0.0, np.log(3.0)], tf.float32), event_ndims=1)
    assert_close(bijector.forward(tf.constant([[1.0, 1.0]])), [[2.0, 9.0]], 1e-6)
    assert_close(bijector.forward_log_det_jacobian(tf.constant([[1.0, 1.0]])), [np.log(3.0)], 1e-6)


@hypothesis.given(shape=st.sampled_from([(16, 3, 2, 4), (50, 3), (4, 5, 1)]), seed=st.integers(0, 99))
def test_from_batch_normalises(shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * rng.uniform(0.1, 9, shape[-1]) + rng.uniform(-5, 5, shape[-1])
    y = ActNorm.from_batch(tf.constant(x)).forward(x).numpy()
    axes = tuple(range(len(shape) - 1))
    assert_close(y.mean(axes), np.zeros(shape[-1]))
    assert_close(y.std(axes), np.ones(shape[-1]))


def test_from_batch_statistics():
    x = np.random.default_rng(1).standard_normal([8, 2, 2, 3])
    bias, log_scale = normalizer(tf.constant(x))
    assert_close(bias, -x.mean((0, 1, 2)))
    assert_close(log_scale, -np.log(x.std((0, 1, 2))))


@pytest.mark.parametrize("level", [0.0, 0.5, -0.5])
def test_a_constant_channel_is_not_blown_up(level):
    rng = np.random.default_rng(2)
    x = np.concatenate([np.full([8, 4, 4, 1], level), rng.standard_normal([8, 4, 4, 1])], axis=-1)
    bijector = ActNorm.from_batch(tf.constant(x))
    y = bijector.forward(x).numpy()
    assert_close(y[..., 0], np.zeros([8, 4, 4]))
    # The scale is not the reciprocal of rounding noise: another image is scaled by at most 1 / MIN_STDDEV.
    assert np.abs(bijector.forward(x + 1.0).numpy()[..., 0]).max() <= 1 / MIN_STDDEV + 1e-9
    assert_close(bijector.inverse(tf.constant(y)), x)


def test_a_constant_channel_in_float32():
    y = ActNorm.from_batch(tf.fill([4, 2, 2, 1], 0.3)).forward(tf.fill([4, 2, 2, 1], 0.3))
    assert np.abs(y).max() < 1e-5


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((2, 3), (2, 3)), ((), ())])
def test_shapes_are_checked(shapes):
    with pytest.raises(ValueError, match=r"bias and log_scale must both have shape \[C\]"):
        ActNorm(tf.zeros(shapes[0]), tf.zeros(shapes[1]))
