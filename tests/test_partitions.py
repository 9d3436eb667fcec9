"""The values in each part of each partition; tests/extending checks that they are partitions at all."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import ModelConfig, layers, networks
from glow_tf.partitions import Channels, Checkerboard, Positions, Turns
from tests.models.flows import random_flow, random_inputs
from tests.tolerances import assert_close

# Each value is the index of its position.
IMAGE = np.arange(24.0).reshape([1, 4, 6, 1])
SEQUENCE = np.arange(6.0).reshape([1, 6, 1])


@pytest.mark.parametrize(
    ("pattern", "first", "second"),
    [
        ("columns", IMAGE[:, :, 0::2], IMAGE[:, :, 1::2]),
        ("rows", IMAGE[:, 0::2], IMAGE[:, 1::2]),
    ],
)
def test_halves_of_the_positions(pattern, first, second):
    partition = Positions(pattern=pattern)
    assert partition.positions((4, 6, 1)) == first.shape[1:3]
    for swap in (0, 1, tf.constant(0), tf.constant(1)):
        expected = (second, first) if int(swap) else (first, second)
        for part, values in zip(partition.divide(tf.constant(IMAGE), swap), expected, strict=True):
            np.testing.assert_array_equal(part, values)
        np.testing.assert_array_equal(partition.merge(*map(tf.constant, expected), swap), IMAGE)


@pytest.mark.parametrize("swap", [0, 1])
def test_a_checkerboard_without_the_other_part(swap):
    """Its parts are those of the checkerboard mask, with the zeros left out."""
    parts = Positions(pattern="checkerboard").divide(tf.constant(IMAGE + 1), swap)
    masked = Checkerboard().divide(tf.constant(IMAGE + 1), swap)
    for part, masked_part in zip(parts, masked, strict=True):
        np.testing.assert_array_equal(np.ravel(part), [n for n in np.ravel(masked_part) if n])


@pytest.mark.parametrize("swap", [0, tf.constant(0)])
def test_a_given_number_of_channels(swap):
    x = np.arange(20.0).reshape([1, 4, 5])
    partition = Channels(first=2)
    assert (partition.ways, Channels().ways) == (1, 2)
    for part, values in zip(partition.divide(tf.constant(x), swap), (x[..., :2], x[..., 2:]), strict=True):
        np.testing.assert_array_equal(part, values)
    np.testing.assert_array_equal(partition.merge(tf.constant(x[..., :2]), tf.constant(x[..., 2:]), swap), x)
    with pytest.raises(ValueError, match="Parts of different sizes cannot be exchanged: leave first=0"):
        partition.divide(tf.constant(x), 1)


@pytest.mark.parametrize("first", [1, 2, 5])
@pytest.mark.parametrize("alternate", [False, True])
def test_couplings_of_a_given_number_of_channels_leave_these_unchanged(first, alternate):
    steps = layers.Steps(
        depth=2,
        network=networks.Cnn(width=3),
        actnorm=False,
        permutation="none",
        partition=Channels(first=first),
        alternate=alternate,
    )
    flow = random_flow(ModelConfig(name="mine", image_shape=(2, 2, 6), layers=(steps,)))
    x = random_inputs(flow.config)
    z, log_det = flow.bijector().forward_and_log_det(x)
    image = tf.reshape(z, x.shape)
    np.testing.assert_array_equal(image[..., :first], x[..., :first])
    assert np.all(np.abs(image[..., first:] - x[..., first:]) > 0)
    assert_close(flow.bijector().inverse_and_log_det(z)[0], x)
    assert np.all(np.abs(log_det) > 0)


@pytest.mark.parametrize("pattern", ["columns", "rows", "checkerboard"])
def test_halves_of_sequences_are_even_and_odd(pattern):
    even, odd = Positions(pattern=pattern).divide(tf.constant(SEQUENCE))
    np.testing.assert_array_equal(np.ravel(even), [0, 2, 4])
    np.testing.assert_array_equal(np.ravel(odd), [1, 3, 5])


# The conditioning parts of [2, 4, 4] with values 10 * position + channel: the first channels or the even positions; for
# kinds with the suffix -odd, the others.
CONDITIONS = {
    "channels": [10 * n + c for n in range(8) for c in (0, 1)],
    "channels-odd": [10 * n + c for n in range(8) for c in (2, 3)],
    "columns": [10 * n + c for n in (0, 2, 4, 6) for c in range(4)],
    "rows-odd": [10 * n + c for n in (4, 5, 6, 7) for c in range(4)],
    "checkerboard": [10 * n + c for n in (0, 2, 5, 7) for c in range(4)],
    "checkerboard-odd": [10 * n + c for n in (1, 3, 4, 6) for c in range(4)],
}


@pytest.mark.parametrize("as_tensor", [False, True])
def test_channels_and_positions_in_turn(as_tensor):
    partition = Turns(kinds=tuple(CONDITIONS))
    assert partition.ways == len(CONDITIONS)
    x = tf.constant(np.add.outer(10.0 * np.arange(8), np.arange(4)).reshape([1, 2, 4, 4]))
    for i, (kind, expected) in enumerate(CONDITIONS.items()):
        swap = tf.constant(i) if as_tensor else i
        x1, x2 = partition.divide(x, swap)
        assert x1.shape == x2.shape == (1, 2, 4, 2)
        np.testing.assert_array_equal(np.ravel(x1), expected, err_msg=kind)
        assert sorted([*np.ravel(x1), *np.ravel(x2)]) == sorted(np.ravel(x))
        np.testing.assert_array_equal(partition.merge(x1, x2, swap), x)


def test_gradients_pass_through_a_division():
    partition, x = (
        Turns(kinds=("channels", "rows")),
        tf.constant(np.random.default_rng(0).standard_normal([2, 2, 3, 2])),
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        x1, x2 = partition.divide(x, tf.constant(1))
        y = tf.reduce_sum(partition.merge(3 * x1, x2**2, tf.constant(1)) ** 2)
    # The first row is the conditioning part.
    expected = np.stack([18 * x[:, 0], 4 * x[:, 1] ** 3], axis=1)
    np.testing.assert_allclose(tape.gradient(y, x), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Positions(pattern="stripes"), "pattern='stripes' is not one of 'columns', 'rows', 'checkerboard'"),
        (lambda: Positions().check((4, 5, 2)), r"even number of columns; it gets \(4, 5, 2\)"),
        (lambda: Positions(pattern="rows").check((3, 4, 2)), r"even number of rows; it gets \(3, 4, 2\)"),
        (lambda: Positions().check((6,)), "even number of columns"),
        (lambda: Turns(kinds=()), "kinds must name at least one kind"),
        (lambda: Turns(kinds=("channels", "diagonal")), "kinds='diagonal' is not one of 'channels', 'channels-odd'"),
        (lambda: Turns().check((4, 4, 3)), r"even number of both; it gets \(4, 4, 3\)"),
        (lambda: Turns(kinds=("rows",)).check((3, 4, 2)), r"positions by rows and needs .* it gets \(3, 4, 2\)"),
        (lambda: Turns().check((3, 3, 2)), r"positions by checkerboard and needs .* it gets \(3, 3, 2\)"),
        (lambda: Turns().check((6,)), "even number of both"),
    ],
)
def test_errors_name_what_is_needed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
