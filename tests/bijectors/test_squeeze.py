import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import Squeeze


@hypothesis.given(
    height=st.integers(1, 3), width=st.integers(1, 3), channels=st.integers(1, 4), factor=st.integers(1, 3)
)
def test_order_of_channels(height, width, channels, factor):
    shape = (2, height * factor, width * factor, channels)
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    expected = np.empty([2, height, width, channels * factor**2])
    for h in range(height):
        for w in range(width):
            for c in range(channels):
                for dy in range(factor):
                    for dx in range(factor):
                        channel = c * factor**2 + dy * factor + dx
                        expected[:, h, w, channel] = x[:, h * factor + dy, w * factor + dx, c]
    bijector = Squeeze(factor)
    np.testing.assert_array_equal(bijector.forward(x), expected)
    np.testing.assert_array_equal(bijector.inverse(tf.constant(expected)), x)


@hypothesis.given(length=st.integers(1, 4), channels=st.integers(1, 4), factor=st.integers(1, 5))
def test_order_of_channels_of_sequences(length, channels, factor):
    x = np.random.default_rng(0).standard_normal([2, length * factor, channels])
    expected = np.empty([2, length, channels * factor])
    for c in range(channels):
        for dt in range(factor):
            expected[:, :, c * factor + dt] = x[:, dt::factor, c]
    bijector = Squeeze(factor, event_ndims=2)
    np.testing.assert_array_equal(bijector.forward(x), expected)
    np.testing.assert_array_equal(bijector.inverse(tf.constant(expected)), x)


@hypothesis.given(
    height=st.integers(1, 3), width=st.integers(1, 3), channels=st.integers(1, 4), factor=st.integers(2, 3)
)
def test_the_position_major_order_is_that_of_space_to_depth(height, width, channels, factor):
    x = np.random.default_rng(0).standard_normal([2, height * factor, width * factor, channels])
    expected = tf.nn.space_to_depth(tf.constant(x), factor)
    bijector = Squeeze(factor, order="position_major")
    np.testing.assert_array_equal(bijector.forward(x), expected)
    np.testing.assert_array_equal(bijector.inverse(tf.identity(expected)), x)


def test_the_position_major_order_of_sequences():
    x = np.random.default_rng(0).standard_normal([2, 6, 2])
    bijector = Squeeze(3, event_ndims=2, order="position_major")
    np.testing.assert_array_equal(bijector.forward(x), x.reshape([2, 2, 6]))
    np.testing.assert_array_equal(bijector.inverse(tf.constant(x.reshape([2, 2, 6]))), x)


def test_one_square_by_hand():
    x = tf.reshape(tf.constant([[1.0, 2.0], [3.0, 4.0]]), [2, 2, 1])
    both = tf.concat([x, 10 * x], axis=-1)
    assert Squeeze().forward(both).numpy().ravel().tolist() == [1, 2, 3, 4, 10, 20, 30, 40]


def test_sides_are_checked():
    with pytest.raises(ValueError, match="Sides of 4x3 are not multiples of 2"):
        Squeeze().forward(tf.zeros([1, 4, 3, 1]))
    with pytest.raises(ValueError, match="6 channels are not a multiple of 4"):
        Squeeze().inverse(tf.zeros([1, 4, 3, 6]))
    with pytest.raises(ValueError, match="A length of 9 is not a multiple of 4"):
        Squeeze(4, event_ndims=2).forward(tf.zeros([1, 9, 1]))
    with pytest.raises(ValueError, match="3 channels are not a multiple of 2"):
        Squeeze(event_ndims=2).inverse(tf.zeros([1, 9, 3]))
    with pytest.raises(ValueError, match="event_ndims=1 must be 3"):
        Squeeze(event_ndims=1)
    with pytest.raises(ValueError, match="factor=0 must be at least 1"):
        Squeeze(0)
    with pytest.raises(ValueError, match="order='pixels' is not one of 'channel_major', 'position_major'"):
        Squeeze(order="pixels")
