import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks.convolution import border_response, check_positions, convolve
from tests.tolerances import assert_close


def convolve_by_hand(x, kernel):
    """Convolves in loops, with zero padding and, if the kernel has an input channel for it, the padding indicator."""
    batch, height, width, channels = x.shape
    rows, columns, inputs, outputs = kernel.shape
    down, right = rows // 2, columns // 2
    padding = [(0, 0), (down, down), (right, right), (0, 0)]
    padded = np.pad(x, padding)
    if inputs == channels + 1:
        indicator = np.pad(np.zeros([batch, height, width, 1]), padding, constant_values=1)
        padded = np.concatenate([padded, indicator], axis=-1)
    y = np.zeros([batch, height, width, outputs])
    for h in range(height):
        for w in range(width):
            for i in range(rows):
                for j in range(columns):
                    y[:, h, w] += padded[:, h + i, w + j] @ kernel[i, j]
    return y


def convolve_sequences_by_tensorflow(x, kernel):
    """Like `convolve_by_hand`, for sequences [B, T, C], with `tf.nn.conv1d` on an input that is padded here."""
    side = len(kernel) // 2
    padded = np.pad(x, [(0, 0), (side, side), (0, 0)])
    if kernel.shape[1] == x.shape[2] + 1:
        outside = np.pad(np.zeros(x.shape[1]), side, constant_values=1)
        outside = np.broadcast_to(outside[:, np.newaxis], [*padded.shape[:2], 1])
        padded = np.concatenate([padded, outside], axis=-1)
    return tf.nn.conv1d(padded, kernel, stride=1, padding="VALID").numpy()


@hypothesis.given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    channels=st.sampled_from([1, 2, 3, 40]),
    outputs=st.sampled_from([1, 2, 3, 4, 36, 512]),
    size=st.sampled_from([(1, 1), (3, 3), (5, 3), (1, 3)]),
    indicator=st.booleans(),
    biased=st.booleans(),
)
@hypothesis.settings(max_examples=100)
def test_against_loops(height, width, channels, outputs, size, indicator, biased):
    rng = np.random.default_rng(height + 10 * width)
    x = rng.standard_normal([2, height, width, channels])
    kernel = rng.standard_normal([*size, channels + indicator, outputs])
    bias = rng.standard_normal([outputs]) if biased else None
    expected = convolve_by_hand(x, kernel) + (0 if bias is None else bias)
    assert_close(convolve(tf.constant(x), tf.constant(kernel), bias), expected)
    rectified = convolve(tf.constant(x), tf.constant(kernel), bias, activation=tf.nn.relu)
    assert_close(rectified, np.maximum(expected, 0))


@hypothesis.given(
    length=st.integers(1, 9),
    channels=st.sampled_from([1, 2, 40]),
    outputs=st.sampled_from([1, 4, 36, 512]),
    size=st.sampled_from([1, 3, 5]),
    indicator=st.booleans(),
    biased=st.booleans(),
)
@hypothesis.settings(max_examples=50)
def test_sequences_against_tensorflow(length, channels, outputs, size, indicator, biased):
    rng = np.random.default_rng(length)
    x = rng.standard_normal([2, length, channels])
    kernel = rng.standard_normal([size, channels + indicator, outputs])
    bias = rng.standard_normal([outputs]) if biased else None
    expected = convolve_sequences_by_tensorflow(x, kernel) + (0 if bias is None else bias)
    assert_close(convolve(tf.constant(x), tf.constant(kernel), bias), expected)
    rectified = convolve(tf.constant(x), tf.constant(kernel), bias, activation=tf.nn.relu)
    assert_close(rectified, np.maximum(expected, 0))


def test_border_response_of_sequences():
    kernel = np.random.default_rng(0).standard_normal([3, 1, 2])
    # The first position sees the padding through the first tap, the last position through the last tap.
    expected = np.zeros([1, 5, 2])
    expected[0, 0], expected[0, -1] = kernel[0, 0], kernel[2, 0]
    assert_close(border_response(tf.constant(kernel), 5), expected)


def test_border_response_is_the_convolution_of_the_indicator_alone():
    kernel = np.random.default_rng(0).standard_normal([3, 3, 1, 2])
    expected = convolve_by_hand(np.zeros([1, 4, 3, 0]), kernel)
    response = border_response(tf.constant(kernel), 4, 3)
    assert_close(response, expected)
    assert_close(response[0, 1:-1, 1:-1], np.zeros([2, 1, 2]))


def test_a_network_can_tell_the_border_from_black():
    kernel = tf.constant(np.random.default_rng(0).standard_normal([3, 3, 3, 4]))
    y = convolve(tf.zeros([1, 5, 5, 2], tf.float64), kernel).numpy()[0]
    assert_close(y[1:-1, 1:-1], np.zeros([3, 3, 4]))
    assert np.abs(y[0]).min() > 0


def test_gradients_and_unknown_batches_of_sequences():
    rng = np.random.default_rng(1)
    x, kernel = tf.constant(rng.standard_normal([2, 6, 2])), tf.constant(rng.standard_normal([3, 2, 4]))

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 2], tf.float64)])
    def compiled(x):
        y = convolve(x, kernel)
        assert y.shape.as_list() == [None, 6, 4]
        return y

    assert_close(compiled(x), convolve_sequences_by_tensorflow(x.numpy(), kernel.numpy()))
    weights = rng.standard_normal([2, 6, 4])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        ours = tf.reduce_sum(weights * convolve(x, kernel))
        theirs = tf.reduce_sum(weights * tf.nn.conv1d(x, kernel, stride=1, padding="SAME"))
    for actual, expected in zip(tape.gradient(ours, [x, kernel]), tape.gradient(theirs, [x, kernel]), strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize(
    "shape", [(1, 1, 2, 3), (3, 3, 2, 3), (3, 3, 3, 512)], ids=["1x1", "3x3", "indicator, many channels"]
)
def test_unknown_batch_and_gradients(shape):
    rng = np.random.default_rng(1)
    x, kernel = tf.constant(rng.standard_normal([2, 3, 4, 2])), tf.constant(rng.standard_normal(shape))

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 4, 2], tf.float64)])
    def compiled(x):
        y = convolve(x, kernel)
        assert y.shape.as_list() == [None, 3, 4, shape[-1]]
        return y

    assert_close(compiled(x), convolve(x, kernel))
    weights = tf.constant(rng.standard_normal([2, 3, 4, shape[-1]]))
    kernel_direction, image_direction = rng.standard_normal(kernel.shape), rng.standard_normal(x.shape)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        loss = tf.reduce_sum(weights * convolve(x, kernel))
    image_gradient, kernel_gradient = tape.gradient(loss, [x, kernel])
    expected = np.sum(weights * convolve_by_hand(x.numpy(), kernel_direction))
    assert_close(np.sum(kernel_gradient * kernel_direction), expected)
    # Linear in the image, except for the contribution of the indicator.
    expected = convolve_by_hand(image_direction, kernel.numpy()) - convolve_by_hand(0 * image_direction, kernel.numpy())
    assert_close(np.sum(image_gradient * image_direction), np.sum(weights * expected))


@pytest.mark.parametrize("inputs", [1, 4])
def test_input_channels_are_checked(inputs):
    with pytest.raises(ValueError, match="does not fit an input of shape"):
        convolve(tf.zeros([1, 4, 4, 2]), tf.zeros([3, 3, inputs, 2]))


def test_axes_are_checked():
    with pytest.raises(ValueError, match=r"kernel of shape \(3, 3, 2, 2\) does not fit an input of shape \(1, 4, 2\)"):
        convolve(tf.zeros([1, 4, 2]), tf.zeros([3, 3, 2, 2]))
    check_positions((4, 4, 2))
    check_positions((4, 2))
    with pytest.raises(ValueError, match=r"has a network and needs \(H, W, C\) or \(T, C\); it gets \(4,\)"):
        check_positions((4,), "has a network and ")
