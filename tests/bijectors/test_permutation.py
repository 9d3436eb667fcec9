import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import Permutation
from tests.tolerances import assert_close


@hypothesis.given(channels=st.integers(1, 9), seed=st.integers(0, 99))
def test_against_numpy(channels, seed):
    rng = np.random.default_rng(seed)
    indices = rng.permutation(channels)
    x = rng.standard_normal([2, 2, 3, channels])
    bijector = Permutation(indices)
    assert_close(bijector.forward(x), x[..., indices])
    back = np.empty_like(x)
    back[..., indices] = x
    assert_close(bijector.inverse(tf.constant(x)), back)
    assert_close(bijector.forward_log_det_jacobian(tf.constant(x)), np.zeros(2))


def test_reverse():
    y = Permutation.reverse(3, event_ndims=1).forward(tf.constant([[1.0, 2.0, 3.0]]))
    assert y.numpy().tolist() == [[3.0, 2.0, 1.0]]


def test_shuffle_is_drawn_from_its_seed():
    x = tf.range(50.0)[tf.newaxis]
    first, again, other = (Permutation.shuffle(50, seed=s, event_ndims=1).forward(x).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert sorted(first[0]) == list(range(50))


def test_second_derivative():
    """The gather has a custom gradient, which is differentiable in turn."""
    x = tf.constant([[1.0, 2.0, 3.0]], tf.float64)
    bijector = Permutation([2, 0, 1], event_ndims=1)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            loss = tf.reduce_sum(bijector.forward(x) ** 3 * tf.constant([1.0, 10.0, 100.0], tf.float64))
        grad = inner.gradient(loss, x)
    assert_close(grad, [[3 * 10 * 1, 3 * 100 * 4, 3 * 1 * 9.0]])
    assert_close(outer.gradient(grad, x), [[6 * 10 * 1, 6 * 100 * 2, 6 * 1 * 3.0]])


@pytest.mark.parametrize("indices", [[0, 0, 1], [1, 2, 3], [0, -1]])
def test_what_is_no_permutation(indices):
    with pytest.raises(ValueError, match=r"indices=.* is not a permutation of 0 \.\. "):
        Permutation(indices)
