import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import Logit
from tests.tolerances import assert_close


@pytest.mark.parametrize("alpha", [0.05, 1e-6, 0.49])
def test_by_hand(alpha):
    x = np.linspace(-0.5, 0.5, 12).reshape([2, 3, 2, 1])
    p = alpha + (1 - 2 * alpha) * (x + 0.5)
    bijector = Logit(alpha)
    assert_close(bijector.forward(x), np.log(p / (1 - p)))
    log_det = np.sum(np.log((1 - 2 * alpha) / (p * (1 - p))), axis=(1, 2, 3))
    assert_close(bijector.forward_log_det_jacobian(tf.constant(x)), log_det)
    y = np.linspace(-9, 9, 12).reshape([2, 3, 2, 1])
    assert_close(bijector.inverse(y), (1 / (1 + np.exp(-y)) - alpha) / (1 - 2 * alpha) - 0.5)


def test_black_and_white_are_finite():
    y = Logit(0.05).forward(tf.constant([-0.5, 0.5], tf.float64)[:, None, None, None]).numpy().ravel()
    assert_close(y, [np.log(0.05 / 0.95), np.log(0.95 / 0.05)])


def test_inverse_far_out_is_finite():
    """A latent drawn from the tails lands outside the cube by at most alpha / (1 - 2 alpha)."""
    y = tf.constant([[-1e3], [1e3]], tf.float64)
    bijector = Logit(0.05, event_ndims=1)
    assert_close(bijector.inverse(y), [[-0.5 - 0.05 / 0.9], [0.5 + 0.05 / 0.9]])
    assert_close(bijector.inverse_log_det_jacobian(y), np.full(2, -1e3 - np.log(0.9)))


@pytest.mark.parametrize("alpha", [0, 0.5, -0.1, 1.0])
def test_alpha_is_checked(alpha):
    with pytest.raises(ValueError, match=f"alpha={alpha} must lie strictly between 0 and 0.5"):
        Logit(alpha)
