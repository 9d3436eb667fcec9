"""The mixture of logistics, against SciPy's distributions and against the Jacobian of the forward direction."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from glow_tf.transforms import MixtureLogistic
from tests.marks import mostly_slow, slow
from tests.tolerances import VALUE, assert_close, assert_gradient_close
from tests.transforms.compiled import assert_same_compiled

LEAST_SLOPE = 1e-3


def parameters(components, n, scale=0.5, dtype=np.float64, seed=1):
    return tf.constant(scale * np.random.default_rng(seed).standard_normal([n, 1, 2 + 3 * components]), dtype)


def points(n, scale=1.0, dtype=np.float64):
    return tf.constant(scale * np.random.default_rng(0).standard_normal([n, 1]), dtype)


def by_hand(x, h):
    """y and log(dy/dx), from SciPy's log-CDF, log-survival function and log-density."""
    components = (h.shape[-1] - 2) // 3
    shift, a, rest = h[..., 0], h[..., 1], np.reshape(h[..., 2:], [*h.shape[:-1], 3, components])
    log_weights = rest[..., 0, :] - special.logsumexp(rest[..., 0, :], axis=-1, keepdims=True)
    begin = np.linspace(-1, 1, components) if components > 1 else 0.0
    arguments = {"loc": rest[..., 1, :] + begin, "scale": np.exp(np.clip(rest[..., 2, :], -7, 7))}
    log_cdf, log_survival, log_density = (
        special.logsumexp(log_weights + getattr(stats.logistic, name)(x[..., None], **arguments), axis=-1)
        for name in ("logcdf", "logsf", "logpdf")
    )
    slope = (1 - LEAST_SLOPE) * np.exp(log_density - log_cdf - log_survival) + LEAST_SLOPE
    value = (1 - LEAST_SLOPE) * (log_cdf - log_survival) + LEAST_SLOPE * x
    return value * np.exp(np.tanh(a)) + shift, np.log(slope) + np.tanh(a)


def bisected(y, h, low, high):
    """The x between `low` and `high` at which `by_hand` is `y`, in float64."""
    h = h.astype(np.float64)
    low, high = np.full(y.shape, low), np.full(y.shape, high)
    for _ in range(80):
        middle = (low + high) / 2
        below = by_hand(middle, h)[0] < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


@pytest.mark.parametrize("components", [1, 2, 5])
@pytest.mark.parametrize("size", [0.0, 0.5, 2.0, 6.0])
def test_by_hand(components, size):
    """With the largest parameters, some scales are at their bounds."""
    x, h = points(200, 2.0), parameters(components, 200, size)
    y, log_det = MixtureLogistic(components=components).forward(x, h)
    expected, expected_log_det = by_hand(x.numpy(), h.numpy())
    assert_close(y, expected)
    assert_close(log_det, expected_log_det)


@pytest.mark.parametrize("components", [1, 3, 8, 32])
def test_it_begins_near_the_identity(components):
    x = points(100)
    y, log_det = MixtureLogistic(components=components).forward(x, tf.zeros([100, 1, 2 + 3 * components], x.dtype))
    assert np.abs(y - x).max() < 0.3
    assert np.abs(log_det).max() < 0.2


def test_components_begin_with_gradients_of_their_own():
    """Components with equal gradients would stay equal."""
    components, x = 8, points(100)
    h = tf.zeros([100, 1, 2 + 3 * components], x.dtype)
    with tf.GradientTape() as tape:
        tape.watch(h)
        y, log_det = MixtureLogistic(components=components).forward(x, h)
        loss = tf.reduce_sum(0.5 * y**2 - log_det)
    for kind in np.reshape(np.sum(tape.gradient(loss, h), axis=(0, 1))[2:], [3, components]):
        # By symmetry, some differ only in sign.
        assert np.abs(np.subtract.outer(kind, kind) + np.eye(components)).min() > 1e-5


# At least twice the measured errors.
ROUND_TRIP = {np.float32: 5e-6, np.float64: 2e-14}
CASES = [
    (components, size, scale, dtype)
    for dtype in ROUND_TRIP
    for components in (1, 2, 8, 32)
    for size in (0.0, 0.5, 1.0, 3.0, 7.0)
    for scale in (1e-6, 1.0, 30.0, 1e4)
]


@pytest.mark.parametrize(
    "components,size,scale,dtype",
    mostly_slow(CASES, [case for case in CASES if case[0] == 8 and case[1] in (0.5, 7.0)]),
)
def test_round_trip(components, size, scale, dtype):
    """Finite and exact up to the rounding of y and x, from values near 0 to the far tails."""
    transform, n = MixtureLogistic(components=components), 5000
    x, h = points(n, scale, dtype), parameters(components, n, size, dtype)
    y, log_det = transform.forward(x, h)
    back, inverse_log_det = transform.inverse(y, h)
    assert back.dtype == x.dtype and np.all(np.isfinite(log_det)) and np.all(np.isfinite(inverse_log_det))
    # Logits up to 30 and scales down to e^-30.
    tolerance = ROUND_TRIP[dtype] * (3 if size > 3 else 1)
    assert np.all(np.abs(transform.forward(back, h)[0] - y) <= tolerance * (1 + np.abs(y)))
    assert np.all(np.abs(back - x) <= tolerance * (np.abs(x) + (1 + np.abs(y)) * np.exp(-log_det)))


@pytest.mark.parametrize("dtype", ROUND_TRIP)
@pytest.mark.parametrize("size,offset", [(30, 0), (300, 0), (0.5, 1e3), (0.5, -1e4), (30, 1e5)])
def test_large_logits(size, offset, dtype):
    """A constant added to all logits changes nothing, and components of no weight matter only in the tails."""
    components, n = 8, 2000
    transform, h = MixtureLogistic(components=components), parameters(components, n).numpy()
    h[..., 2 : 2 + components] = size * np.random.default_rng(3).standard_normal([n, 1, components]) + offset
    h = tf.constant(h, dtype)
    for scale in (1.0, 30.0, 1e4):
        x = points(n, scale, dtype)
        y, log_det = transform.forward(x, h)
        expected, expected_log_det = by_hand(x.numpy().astype(np.float64), h.numpy().astype(np.float64))
        tolerance = ROUND_TRIP[dtype]
        assert_close(y, expected, tolerance)
        # By hand, in far tails, it is the difference of large terms.
        assert_close(log_det, expected_log_det, max(4 * tolerance, VALUE))
        back, _ = transform.inverse(y, h)
        assert np.all(np.abs(back - x) <= tolerance * (np.abs(x) + (1 + np.abs(y)) * np.exp(-log_det)))


@pytest.mark.parametrize("dtype,logit", [(np.float32, 20), (np.float64, 40)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_inverse_beside_a_narrow_component_that_dominates(sign, dtype, logit):
    """The weight of the other component is less than the rounding of 1."""
    # Means of 0 and 2, and scales of 0.01 and 1, or mirrored; from 40 scales below the narrow one to 40 above it.
    h = np.tile([0, 0, *(logit, 0)[::sign], *(sign, sign), *(np.log(0.01), 0)[::sign]], [81, 1, 1]).astype(dtype)
    y = by_hand(sign * np.linspace(-0.4, 0.4, 81)[:, np.newaxis], h.astype(np.float64))[0].astype(dtype)
    expected = bisected(y, h, -4.0, 4.0)
    back, _ = MixtureLogistic(components=2).inverse(tf.constant(y), tf.constant(h))
    slope = np.exp(by_hand(expected, h.astype(np.float64))[1])
    assert np.all(np.abs(back - expected) <= ROUND_TRIP[dtype] * (np.abs(expected) + (1 + np.abs(y)) / slope))


@pytest.mark.parametrize("dtype", ROUND_TRIP)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("components", [1, 2])
def test_the_inverse_where_components_are_far_from_zero(components, sign, dtype):
    """The log-odds are far from 0 there, as x itself adds to the value."""
    y = sign * np.array([-60, 0, 5, 90, 300], dtype)[:, np.newaxis]
    for mean in (1e4, 2e5, 1e6):
        h = np.zeros([5, 1, 2 + 3 * components], dtype)
        h[..., 2 + components : 2 + 2 * components] = sign * mean
        expected = bisected(y, h, -2 * mean, 2 * mean)
        back, _ = MixtureLogistic(components=components).inverse(tf.constant(y), tf.constant(h))
        np.testing.assert_allclose(back, expected, rtol=ROUND_TRIP[dtype])


def test_the_slope_is_bounded_between_narrow_components():
    """Two components at -1 and 1, a thousandth wide: values between them are restored."""
    h = np.zeros([1, 2 + 3 * 2])
    h[..., -2:] = -50
    x = tf.constant(np.linspace(-3, 3, 1001)[:, np.newaxis], tf.float32)
    h = tf.constant(np.broadcast_to(h, [1001, *h.shape]), tf.float32)
    transform = MixtureLogistic(components=2)
    y, log_det = transform.forward(x, h)
    assert np.all(np.diff(y[:, 0]) > 0)
    assert np.abs(log_det.numpy().min() - np.log(LEAST_SLOPE)) < 1e-4
    assert np.abs(log_det).max() < 7.1
    assert np.abs(transform.inverse(y, h)[0] - x).max() < 5e-3
    with tf.GradientTape() as tape:
        tape.watch([x, h])
        y, log_det = transform.forward(x, h)
    for gradient in tape.gradient([y, log_det], [x, h]):
        assert np.all(np.isfinite(gradient))
    for gradient in transform.vjp(x, y, h, tf.ones_like(x), tf.ones_like(x)):
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("x", [-1e30, -1e4, 1e4, 1e30])
def test_far_tails_in_float32(x):
    """The broadest component dominates there: the slope is the inverse of its scale."""
    h = np.zeros([1, 1, 2 + 3 * 3])
    h[..., -3:] = [-1.0, 0.5, 2.0]
    x, h = tf.constant([[x]], tf.float32), tf.constant(h, tf.float32)
    transform = MixtureLogistic(components=3)
    y, log_det = transform.forward(x, h)
    slope = (1 - LEAST_SLOPE) * np.exp(-2) + LEAST_SLOPE
    np.testing.assert_allclose(log_det, [[np.log(slope)]], rtol=1e-6)
    np.testing.assert_allclose(y, x * slope, rtol=1e-3)
    np.testing.assert_allclose(transform.inverse(y, h)[0], x, rtol=1e-6)


def test_the_gradient_of_the_inverse_is_the_inverse_of_the_jacobian():
    transform, n = MixtureLogistic(components=4), 50
    x, h = points(n), parameters(4, n)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, h])
        y, log_det = transform.forward(x, h)
    dy_dx, dy_dh, dlog_dx, dlog_dh = (
        tape.gradient(t, source).numpy() for t, source in ((y, x), (y, h), (log_det, x), (log_det, h))
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([y, h])
        back, inverse_log_det = transform.inverse(y, h)
    assert_gradient_close(tape.gradient(back, y), 1 / dy_dx)
    assert_gradient_close(tape.gradient(back, h), -dy_dh / dy_dx[..., None])
    assert_gradient_close(tape.gradient(inverse_log_det, y), -dlog_dx / dy_dx)
    along = dlog_dx / dy_dx
    assert_gradient_close(tape.gradient(inverse_log_det, h), along[..., None] * dy_dh - dlog_dh)


def test_the_gradient_of_the_inverse_is_that_of_unrolled_steps():
    transform, n = MixtureLogistic(components=4), 50
    x, h = points(n), parameters(4, n)
    y, _ = transform.forward(x, h)
    weight = points(n) ** 2

    def unrolled(y, h):
        found = tf.stop_gradient(x) + 0.01
        for _ in range(6):
            value, log_slope = transform.forward(found, h)
            found -= (value - y) * tf.exp(-log_slope)
        return found

    found = []
    for inverse in (unrolled, lambda y, h: transform.inverse(y, h)[0]):
        with tf.GradientTape() as outer:
            outer.watch([y, h])
            with tf.GradientTape() as tape:
                tape.watch([y, h])
                x_again = inverse(y, h)
            first = tape.gradient(x_again, [y, h], output_gradients=weight)
            loss = sum(tf.reduce_sum(tf.sin(t)) for t in first)
        found.append([x_again, *first, *outer.gradient(loss, [y, h])])
    for expected, actual in zip(*found, strict=True):
        assert_gradient_close(actual, expected)


@pytest.mark.parametrize("components", [1, 3])
def test_gradients_at_a_mean(components):
    """There z is exactly 0, as in images of zeros."""
    transform, h = MixtureLogistic(components=components), tf.zeros([1, 1, 2 + 3 * components], tf.float64)

    def gradient(x):
        x = tf.constant([[x]], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch([x, h])
            y, log_det = transform.forward(x, h)
            loss = tf.reduce_sum(2 * y + 3 * log_det)
        return tape.gradient(loss, [x, h]), transform.vjp(x, y, h, 2 * tf.ones_like(x), 3 * tf.ones_like(x))

    nearby = gradient(1e-9)[0]
    for found in gradient(0.0):
        for actual, expected in zip(found, nearby, strict=True):
            assert_close(actual, expected, 1e-8)


def test_parameters_that_are_not_numbers_spoil_their_element_alone():
    """The search for the inverse terminates nevertheless."""
    transform, x, h = MixtureLogistic(components=3), points(6), parameters(3, 6).numpy()
    y = transform.forward(x, tf.constant(h))[0].numpy()
    h[1, 0, 4], y[2], y[3] = np.nan, np.nan, np.inf
    back, log_det = transform.inverse(tf.constant(y), tf.constant(h))
    assert not np.any(np.isfinite(back[1:4]))
    for part in (slice(0, 1), slice(4, 6)):
        assert_close(back[part], x[part])
        assert np.all(np.isfinite(log_det[part]))


def test_compiled_by_xla_and_with_batches_of_unknown_size():
    transform, n = MixtureLogistic(components=3), 40
    y, h = points(n, dtype=np.float32), parameters(3, n, dtype=np.float32)

    def both(y, h):
        return *transform.inverse(y, h), *transform.forward(y, h)

    assert_same_compiled(both, y, h, 1e-5)
    assert transform.inverse(y[:0], h[:0])[0].shape == (0, 1)


@pytest.mark.parametrize("dtype", [slow(np.float32), slow(np.float64)])
def test_gradients_compiled_by_xla_and_with_batches_of_unknown_size(dtype):
    transform, n = MixtureLogistic(components=3), 40
    y, h = points(n, dtype=dtype), parameters(3, n, dtype=dtype)

    def all_of(y, h):
        with tf.GradientTape() as tape:
            tape.watch([y, h])
            x, log_det = transform.inverse(y, h)
            again, _ = transform.forward(x, h)
        gradients = tape.gradient([x, log_det], [y, h])
        return x, log_det, again, *gradients, *transform.vjp(x, y, h, y, tf.ones_like(y))

    assert_same_compiled(all_of, y, h, 2e-5 if dtype == np.float32 else 1e-12)
    assert transform.inverse(y[:0], h[:0])[0].shape == (0, 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_refused(dtype):
    with pytest.raises(ValueError, match=f"MixtureLogistic computes its inverse in float32 or float64; y is {dtype}"):
        MixtureLogistic(components=1).inverse(tf.zeros([1, 1], dtype), tf.zeros([1, 1, 5], dtype))


@pytest.mark.parametrize(
    "components,message", [(0, "an integer of at least 1"), (2.5, "an integer"), (1001, "at most 1000")]
)
def test_errors(components, message):
    with pytest.raises(ValueError, match=f"components={components} must be {message}"):
        MixtureLogistic(components=components)
