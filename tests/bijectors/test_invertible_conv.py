import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import InvertibleConv1x1, invertible_conv
from tests import bijector_checks as checks
from tests.tolerances import assert_close


def plu_by_hand(permutation, sign, lower, upper, log_diagonal):
    channels = len(permutation)
    p = np.zeros([channels, channels])
    p[np.arange(channels), permutation] = 1
    return p @ (np.tril(lower, -1) + np.eye(channels)) @ (np.triu(upper, 1) + np.diag(sign * np.exp(log_diagonal)))


def random_plu(seed, channels):
    rng = np.random.default_rng(seed)
    return {
        "permutation": rng.permutation(channels).astype(np.int32),
        "sign": rng.choice([-1.0, 1.0], channels),
        "lower": rng.standard_normal([channels, channels]),
        "upper": rng.standard_normal([channels, channels]),
        "log_diagonal": 0.3 * rng.standard_normal(channels),
    }


@hypothesis.given(channels=st.integers(1, 8), seed=st.integers(0, 99))
def test_plu_matrices(channels, seed):
    parameters = random_plu(seed, channels)
    weight, inverse, log_det = invertible_conv.plu_matrices(**{k: tf.constant(v) for k, v in parameters.items()})
    expected = plu_by_hand(**parameters)
    assert_close(weight, expected)
    assert_close(log_det, np.linalg.slogdet(expected)[1])
    assert_close(inverse @ weight, np.eye(channels), 1e-9)


def test_plu_matrices_of_a_stack_are_those_of_its_slices():
    stack = [random_plu(seed, 4) for seed in range(3)]
    stacked = {name: tf.constant(np.stack([p[name] for p in stack])) for name in stack[0]}
    weight, inverse, log_det = invertible_conv.plu_matrices(**stacked)
    for k, parameters in enumerate(stack):
        expected = plu_by_hand(**parameters)
        assert_close(weight[k], expected)
        assert_close(inverse[k], np.linalg.inv(expected), 1e-9)
        assert_close(log_det[k], np.linalg.slogdet(expected)[1])


@hypothesis.given(channels=st.integers(1, 12), seed=st.integers(0, 99))
def test_plu_parameters_reconstruct_the_matrix(channels, seed):
    weight = np.random.default_rng(seed).standard_normal([2, channels, channels])
    parameters = invertible_conv.plu_parameters(weight)
    assert np.issubdtype(parameters["permutation"].dtype, np.integer)
    again, _, log_det = invertible_conv.plu_matrices(**{k: tf.constant(v) for k, v in parameters.items()})
    assert_close(again, weight)
    assert_close(log_det, np.linalg.slogdet(weight)[1])


@pytest.mark.parametrize(
    "weight", [np.zeros([2, 2]), np.ones([3, 3]), np.array([[1.0, np.nan], [0.0, 1.0]])], ids=["zero", "ones", "nan"]
)
def test_plu_parameters_reject_singular_matrices(weight):
    with pytest.raises(ValueError, match="singular or not finite"):
        invertible_conv.plu_parameters(weight)


def test_plu_parameters_of_a_badly_scaled_matrix():
    """Its determinant underflows, but it is invertible."""
    weight = 1e-30 * invertible_conv.random_rotations(np.random.default_rng(0), 1, 48)[0]
    parameters = invertible_conv.plu_parameters(weight)
    again, _, log_det = invertible_conv.plu_matrices(**{k: tf.constant(v) for k, v in parameters.items()})
    np.testing.assert_allclose(again, weight, rtol=1e-6, atol=1e-42)
    assert_close(log_det, 48 * np.log(1e-30))


def test_convolution_by_hand():
    rng = np.random.default_rng(3)
    weight = rng.standard_normal([3, 3])
    x = rng.standard_normal([2, 4, 5, 3])
    bijector = InvertibleConv1x1.from_dense(tf.constant(weight))
    expected = np.zeros_like(x)
    for h in range(4):
        for w in range(5):
            for out in range(3):
                expected[:, h, w, out] = sum(x[:, h, w, c] * weight[c, out] for c in range(3))
    assert_close(bijector.forward(x), expected)
    assert_close(bijector.inverse(tf.constant(expected)), x)
    log_det = 4 * 5 * np.linalg.slogdet(weight)[1]
    assert_close(bijector.forward_log_det_jacobian(tf.constant(x)), np.full(2, log_det))
    assert_close(bijector.inverse_log_det_jacobian(tf.constant(x)), np.full(2, -log_det))


def test_plu_and_dense_are_one_convolution():
    weight = np.random.default_rng(4).standard_normal([4, 4])
    plu = InvertibleConv1x1.from_plu(
        **{name: tf.constant(value) for name, value in invertible_conv.plu_parameters(weight).items()}
    )
    dense = InvertibleConv1x1.from_dense(tf.constant(weight))
    x = tf.constant(np.random.default_rng(5).standard_normal([2, 2, 3, 4]))
    assert_close(plu.forward(x), dense.forward(x))
    assert_close(plu.inverse(x), dense.inverse(x))
    assert_close(plu.forward_log_det_jacobian(x), dense.forward_log_det_jacobian(x))


def test_vjp_with_respect_to_the_matrices():
    """A bijector constructed from the matrices themselves takes them as sources in `inverse_and_vjp`."""
    weight = np.random.default_rng(6).standard_normal([3, 3]) + 2 * np.eye(3)
    parameters = {
        "weight": tf.constant(weight),
        "inverse_weight": tf.constant(np.linalg.inv(weight)),
        "log_abs_det": tf.constant(np.linalg.slogdet(weight)[1]),
    }
    x = tf.constant(np.random.default_rng(7).standard_normal([2, 2, 2, 3]))
    checks.check_inverse_and_vjp(lambda p: InvertibleConv1x1(**p), parameters, ("weight", "log_abs_det"), x)


@pytest.mark.parametrize("channels", [1, 2, 12, 48])
def test_random_rotations(channels):
    weight = invertible_conv.random_rotations(np.random.default_rng(0), 1, channels)[0]
    assert_close(weight @ weight.T, np.eye(channels))
    again = invertible_conv.random_rotations(np.random.default_rng(0), 1, channels)[0]
    np.testing.assert_array_equal(weight, again)
    if channels > 1:
        other = invertible_conv.random_rotations(np.random.default_rng(1), 1, channels)[0]
        assert np.abs(weight - other).max() > 0.1


def test_random_rotations_are_uniform():
    """Under the Haar measure, every entry has mean 0 and mean square 1/C; a plain QR decomposition is not uniform."""
    rng = np.random.default_rng(0)
    draws = invertible_conv.random_rotations(rng, 4000, 3)
    assert np.abs(draws.mean(0)).max() < 0.05
    assert np.abs((draws**2).mean(0) - 1 / 3).max() < 0.03


@pytest.mark.parametrize("shape", [(2, 3), (3,), (1, 3, 3)])
def test_weight_is_checked(shape):
    with pytest.raises(ValueError, match=r"weight must have shape \[C, C\]"):
        InvertibleConv1x1(tf.zeros(shape), tf.zeros(shape), 0.0)
