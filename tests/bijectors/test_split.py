import numpy as np
import tensorflow as tf

from glow_tf.bijectors import Split
from tests.bijector_checks import normal_log_density
from tests.tolerances import assert_close

RNG = np.random.default_rng(0)
MIXING = RNG.standard_normal([2, 4])
X = RNG.standard_normal([3, 2, 2, 4])


def prior(x1):
    return tf.sin(x1 @ MIXING)


def prior_by_hand(x1):
    h = np.sin(x1 @ MIXING)
    return h[..., 0::2], h[..., 1::2]


def test_whitening():
    """The density of x2 under the prior is the standard normal density of y2 times the Jacobian determinant."""
    y, log_det = Split(prior).forward_and_log_det(tf.constant(X))
    x1, x2 = X[..., :2], X[..., 2:]
    mean, log_stddev = prior_by_hand(x1)
    np.testing.assert_array_equal(y[..., :2], x1)
    assert_close(y[..., 2:], (x2 - mean) / np.exp(log_stddev))
    density = -0.5 * ((x2 - mean) / np.exp(log_stddev)) ** 2 - log_stddev - 0.5 * np.log(2 * np.pi)
    assert_close(normal_log_density(y[..., 2:], 1) + log_det.numpy(), density.sum((1, 2, 3)))


def test_inverse_draws_from_the_prior():
    x, log_det = Split(prior).inverse_and_log_det(tf.constant(X))
    mean, log_stddev = prior_by_hand(X[..., :2])
    assert_close(x[..., 2:], X[..., 2:] * np.exp(log_stddev) + mean)
    assert_close(log_det, log_stddev.sum((1, 2, 3)))


def test_without_prior_it_changes_nothing():
    for direction in ("forward_and_log_det", "inverse_and_log_det"):
        y, log_det = getattr(Split(None), direction)(tf.constant(X))
        np.testing.assert_array_equal(y, X)
        np.testing.assert_array_equal(log_det, np.zeros(3))
