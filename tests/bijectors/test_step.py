import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import ActNorm, FlowStep, Permutation
from tests.tolerances import assert_close


def test_layers_apply_in_order():
    bias, log_scale = np.array([1.0, -1.0, 0.5]), np.array([0.2, -0.3, 0.7])
    norm, reverse = ActNorm(tf.constant(bias), tf.constant(log_scale)), Permutation.reverse(3)
    x = np.random.default_rng(0).standard_normal([2, 2, 2, 3])
    normalised = (x + bias) * np.exp(log_scale)
    assert_close(FlowStep([norm, reverse]).forward(x), normalised[..., ::-1])
    assert_close(FlowStep([reverse, norm]).forward(x), (x[..., ::-1] + bias) * np.exp(log_scale))
    assert_close(FlowStep([norm, reverse]).inverse(tf.constant(normalised[..., ::-1].copy())), x)


def test_log_dets_add_up():
    norm = ActNorm(tf.zeros([2], tf.float64), tf.constant([0.2, -0.3], tf.float64))
    x = tf.ones([5, 3, 2, 2], tf.float64)
    assert_close(FlowStep([norm, norm]).forward_log_det_jacobian(x), np.full(5, 2 * 6 * (0.2 - 0.3)))


def test_gradient_of_a_tensor_that_two_layers_share():
    log_scale = tf.constant([0.2, -0.3], tf.float64)
    step = FlowStep([ActNorm(tf.zeros([2], tf.float64), log_scale)] * 2)
    y = tf.ones([1, 1, 1, 2], tf.float64)
    _, _, (grad,) = step.inverse_and_vjp(y, tf.ones_like(y), tf.ones([1], tf.float64), [log_scale])
    # y = x exp(2 log_scale): dy/dlog_scale = 2 y, and the log-det contributes 2.
    assert_close(grad, [4.0, 4.0])


def test_a_step_has_layers():
    with pytest.raises(ValueError, match="at least one layer"):
        FlowStep([])
