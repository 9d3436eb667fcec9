import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import ActNorm, DiagonalPrior, MultiScale, Split, Squeeze
from tests.tolerances import assert_close


def squeeze_by_hand(x):
    batch, height, width, channels = x.shape
    x = x.reshape([batch, height // 2, 2, width // 2, 2, channels])
    return x.transpose(0, 1, 3, 5, 2, 4).reshape([batch, height // 2, width // 2, 4 * channels])


def three_levels(*extra):
    return MultiScale(
        [Squeeze(), Split(None), Squeeze(), Split(None), Squeeze(), *extra],
        [(8, 8, 1), (4, 4, 4), (4, 4, 2), (2, 2, 8), (2, 2, 4), (1, 1, 16), *([(1, 1, 16)] * len(extra))],
    )


def test_order_of_the_latent():
    """The channels factored out, level by level, each row by row; then the top."""
    x = np.arange(2 * 64, dtype=np.float64).reshape([2, 8, 8, 1])
    level1 = squeeze_by_hand(x)
    level2 = squeeze_by_hand(level1[..., :2])
    top = squeeze_by_hand(level2[..., :4])
    parts = [level1[..., 2:], level2[..., 4:], top]
    z = np.concatenate([part.reshape([2, -1]) for part in parts], axis=1)
    bijector = three_levels()
    np.testing.assert_array_equal(bijector.forward(x), z)
    np.testing.assert_array_equal(bijector.inverse(tf.constant(z)), x)
    assert bijector.latent_shapes == [(4, 4, 2), (2, 2, 4), (1, 1, 16)]


def test_only_the_top_meets_the_top_prior():
    mean, log_stddev = np.full([1, 1, 1, 16], 0.5), np.full([1, 1, 1, 16], np.log(2.0))
    x = np.random.default_rng(0).standard_normal([3, 8, 8, 1])
    plain = three_levels().forward(x).numpy()
    whitened = three_levels(DiagonalPrior(tf.constant(mean), tf.constant(log_stddev)))
    z = whitened.forward(x).numpy()
    np.testing.assert_array_equal(z[:, :48], plain[:, :48])
    assert_close(z[:, 48:], (plain[:, 48:] - 0.5) / 2)
    assert_close(whitened.forward_log_det_jacobian(tf.constant(x)), np.full(3, -16 * np.log(2)))


def test_a_prior_sees_the_half_that_stays():
    seen = []

    def prior(x1):
        seen.append(x1.numpy())
        return tf.zeros([*x1.shape[:-1], 4], x1.dtype)

    x = np.random.default_rng(1).standard_normal([2, 4, 4, 1])
    bijector = MultiScale([Squeeze(), Split(prior)], [(4, 4, 1), (2, 2, 4), (2, 2, 2)])
    z = bijector.forward(x)
    np.testing.assert_array_equal(seen[0], squeeze_by_hand(x)[..., :2])
    bijector.inverse(tf.identity(z))
    np.testing.assert_array_equal(seen[1], seen[0])


def test_without_splits_it_flattens():
    norm = ActNorm(tf.constant([1.0], tf.float64), tf.constant([0.5], tf.float64))
    bijector = MultiScale([norm], [(2, 3, 1), (2, 3, 1)])
    x = np.random.default_rng(2).standard_normal([4, 2, 3, 1])
    assert_close(bijector.forward(x), ((x + 1) * np.exp(0.5)).reshape([4, 6]))
    assert_close(bijector.forward_log_det_jacobian(tf.constant(x)), np.full(4, 3.0))
    assert bijector.latent_shapes == [(2, 3, 1)]


def test_shapes_and_layers_must_match():
    with pytest.raises(ValueError, match="1 layers need 2 shapes, not 1"):
        MultiScale([Squeeze()], [(4, 4, 1)])
