import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import Coupling
from glow_tf.partitions import Channels, Checkerboard
from glow_tf.transforms import NAMED, Additive
from tests.tolerances import assert_close


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(coupling, x2, h):
    """y2 and log|dy2/dx2| elementwise."""
    if coupling == "additive":
        return x2 + h, np.zeros_like(x2)
    t, s = h[..., 0::2], h[..., 1::2]
    if coupling == "affine":
        return (x2 + t) * sigmoid(s + 2), np.log(sigmoid(s + 2))
    return x2 * np.exp(s) + t, s


def constant_network(h):
    """A network that ignores its input except for the batch size."""
    return lambda x1: tf.tile(tf.constant(h)[tf.newaxis], [tf.shape(x1)[0]] + [1] * h.ndim)


@pytest.mark.parametrize("coupling", ["additive", "affine", "affine_exp"])
@pytest.mark.parametrize("swap", [0, 1])
def test_channel_mask(coupling, swap):
    rng = np.random.default_rng(0)
    x = rng.standard_normal([2, 2, 3, 4])
    mixing = rng.standard_normal([2, 2 if coupling == "additive" else 4])
    bijector = Coupling(lambda x1: tf.sin(x1 @ mixing), transform=NAMED[coupling], swap=swap)
    x1, x2 = (x[..., 2:], x[..., :2]) if swap else (x[..., :2], x[..., 2:])
    y2, log_det = by_hand(coupling, x2, np.sin(x1 @ mixing))
    expected = np.concatenate([y2, x1] if swap else [x1, y2], axis=-1)
    assert_close(bijector.forward(x), expected)
    assert_close(bijector.inverse(tf.constant(expected)), x)
    assert_close(bijector.forward_log_det_jacobian(tf.constant(x)), log_det.sum((1, 2, 3)))


@pytest.mark.parametrize("coupling", ["additive", "affine", "affine_exp"])
@pytest.mark.parametrize("swap", [0, 1])
@pytest.mark.parametrize("shape", [(3, 4, 2), (1, 5, 1), (5, 2), (7,)])
def test_checkerboard_mask(coupling, swap, shape):
    rng = np.random.default_rng(1)
    x = rng.standard_normal([2, *shape])
    mixing = rng.standard_normal([shape[-1], shape[-1] * (1 if coupling == "additive" else 2)])
    bijector = Coupling(
        lambda x1: tf.sin(x1 @ mixing),
        transform=NAMED[coupling],
        partition=Checkerboard(),
        swap=swap,
        event_ndims=len(shape),
    )
    positions = np.indices(shape[:-1] if len(shape) > 1 else shape).sum(0)
    conditions = (positions + swap) % 2 == 0
    conditions = np.broadcast_to(conditions[..., None] if len(shape) > 1 else conditions, x.shape)
    x1 = np.where(conditions, x, 0)
    y2, log_det = by_hand(coupling, x, np.sin(x1 @ mixing))
    expected = np.where(conditions, x, y2)
    y = bijector.forward(x).numpy()
    np.testing.assert_array_equal(y[conditions], x[conditions])
    assert_close(y, expected)
    assert_close(bijector.inverse(tf.constant(expected)), x)
    log_det = np.where(conditions, 0, log_det).sum(tuple(range(1, x.ndim)))
    assert_close(bijector.forward_log_det_jacobian(tf.constant(x)), log_det)


def test_what_is_computed_for_the_part_that_stays_does_not_matter():
    """Networks give parameters for every position; those of the part that conditions are not used, even if NaN."""
    conditions = (np.indices([2, 4]).sum(0) % 2 == 0)[..., np.newaxis]
    h = np.random.default_rng(8).standard_normal([2, 4, 2])
    bijectors = [
        Coupling(constant_network(np.where(conditions, unused, h)), partition=Checkerboard())
        for unused in (0.0, np.nan)
    ]
    x = tf.constant(np.random.default_rng(9).standard_normal([3, 2, 4, 1]))
    (y, log_det), found = (bijector.forward_and_log_det(x) for bijector in bijectors)
    assert_close(found[0], y)
    assert_close(found[1], log_det)
    rebuilt, inverse_log_det = bijectors[1].inverse_and_log_det(tf.identity(y))
    assert_close(rebuilt, x)
    assert_close(inverse_log_det, -log_det)


def test_the_white_squares_of_a_checkerboard():
    """Position (0, 0) conditions, as in figure 3 of RealNVP; with swap, it is transformed."""
    x = tf.zeros([1, 2, 2, 1], tf.float64)
    for swap, expected in ((0, [[0, 1], [1, 0]]), (1, [[1, 0], [0, 1]])):
        network = constant_network(np.ones([2, 2, 1]))
        y = Coupling(network, transform=Additive(), partition=Checkerboard(), swap=swap).forward(x)
        assert y.numpy()[0, ..., 0].tolist() == expected


def test_the_network_sees_no_black_square():
    seen = []

    def network(x1):
        seen.append(x1.numpy())
        return tf.zeros_like(x1)

    Coupling(network, transform=Additive(), partition=Checkerboard()).forward(tf.ones([1, 2, 2, 1]))
    assert seen[0][0, ..., 0].tolist() == [[1, 0], [0, 1]]


def test_swap_as_a_tensor_is_swap_as_an_int():
    x = tf.constant(np.random.default_rng(2).standard_normal([2, 3, 3, 2]))
    for partition, inputs in ((Channels(), 1), (Checkerboard(), 2)):
        mixing = np.random.default_rng(3).standard_normal([inputs, 2 * inputs])
        for swap in (0, 1):
            results = [
                Coupling(
                    lambda x1, mixing=mixing: tf.sin(x1 @ mixing), partition=partition, swap=s
                ).forward_and_log_det(x)
                for s in (swap, tf.constant(swap))
            ]
            for a, b in zip(*results, strict=True):
                assert_close(a, b)


def test_additive_preserves_volume():
    x = tf.constant(np.random.default_rng(4).standard_normal([3, 2, 2, 2]))
    bijector = Coupling(lambda x1: 100 * tf.exp(x1), transform=Additive())
    np.testing.assert_array_equal(bijector.forward_log_det_jacobian(x), np.zeros(3))


def test_glow_starts_as_a_contraction_by_sigmoid_2():
    x = np.random.default_rng(5).standard_normal([1, 2, 2, 2])
    bijector = Coupling(constant_network(np.zeros([2, 2, 2])))
    assert_close(bijector.forward(x)[..., 1], x[..., 1] * sigmoid(2))


@pytest.mark.parametrize("s", [-600.0, 600.0])
def test_extreme_scales_of_affine(s):
    """sigmoid(s + 2) is kept as its logarithm: s = -600 gives neither a scale of 0 nor a log-det of -inf."""
    h = np.zeros([1, 1, 2])
    h[..., 1] = s
    bijector = Coupling(constant_network(h))
    x = tf.constant([[[[0.3, 0.7]]]], tf.float64)
    y, log_det = bijector.forward_and_log_det(x)
    assert_close(log_det, [min(s + 2, 0.0)])
    assert_close(bijector.inverse(tf.identity(y)), x)


def test_a_network_that_ignores_its_input_has_a_gradient():
    h = np.random.default_rng(6).standard_normal([2, 2, 4])
    bijector = Coupling(constant_network(h))
    x = tf.constant(np.random.default_rng(7).standard_normal([2, 2, 2, 4]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_det = bijector.forward_and_log_det(x)
    dy = tf.ones_like(y)
    expected = tape.gradient([y, log_det], x, output_gradients=[dy, tf.ones_like(log_det)])
    rebuilt, dx, _ = bijector.inverse_and_vjp(y, dy, tf.ones_like(log_det), [])
    assert_close(rebuilt, x)
    assert_close(dx, expected)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="transform='affine' is not a Transform"):
        Coupling(tf.identity, transform="affine")
    with pytest.raises(ValueError, match="partition='stripes' is not a Partition"):
        Coupling(tf.identity, partition="stripes")
    with pytest.raises(ValueError, match="Affine takes 2 parameters for each of 2 channels: .* must give 4 .* not 2"):
        Coupling(tf.identity).forward(tf.zeros([1, 2, 2, 4]))
    with pytest.raises(ValueError, match="even number"):
        Coupling(tf.identity).forward(tf.zeros([1, 2, 2, 3]))
