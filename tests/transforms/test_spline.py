"""The spline, against TFP's, which searches and gathers, and against the Jacobian of the forward direction."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.transforms import RationalQuadraticSpline
from tests.marks import slow
from tests.tolerances import assert_close, assert_gradient_close
from tests.transforms.compiled import assert_same_compiled


def parameters(bins, n, scale=0.5, dtype=np.float64, seed=1):
    return tf.constant(scale * np.random.default_rng(seed).standard_normal([n, 1, 3 * bins - 1]), dtype)


def points(n, scale=1.5, dtype=np.float64):
    return tf.constant(scale * np.random.default_rng(0).standard_normal([n, 1]), dtype)


def of_tfp(h, bins, bound):
    """TFP's spline with the minimum sizes of the paper's code: bins of a thousandth of the interval, slopes of 1e-3."""
    widths, heights, slopes = tf.split(h, [bins, bins, bins - 1], axis=-1)
    widths, heights = (2 * bound * (1e-3 + (1 - 1e-3 * bins) * tf.nn.softmax(t)) for t in (widths, heights))
    slopes = 1e-3 + tf.math.log(1 + tf.exp(slopes) * (np.exp(1 - 1e-3) - 1))
    return tfp.bijectors.RationalQuadraticSpline(widths, heights, slopes, range_min=tf.constant(-bound, h.dtype))


@pytest.mark.parametrize("bins,bound,size", [(2, 3.0, 0.5), (8, 3.0, 1.0), (5, 0.7, 2.0)])
def test_it_is_that_of_tfp(bins, bound, size):
    """Values, log-dets, and gradients of both."""
    transform, x, h = RationalQuadraticSpline(bins=bins, bound=bound), points(300), parameters(bins, 300, size)
    assert 0 < np.mean(np.abs(x) < bound) < 1
    found = []
    for ours in (True, False):
        with tf.GradientTape() as tape:
            tape.watch([x, h])
            if ours:
                y, log_det = transform.forward(x, h)
            else:
                spline = of_tfp(h, bins, bound)
                y, log_det = spline.forward(x), spline.forward_log_det_jacobian(tf.identity(x))
        found.append([y, log_det, *tape.gradient([y, log_det], [x, h])])
    for actual, expected in zip(*found, strict=True):
        assert_close(actual, expected, 1e-9)


@pytest.mark.parametrize("bins", [2, 8, 31])
def test_it_begins_as_the_identity(bins):
    x = points(200)
    y, log_det = RationalQuadraticSpline(bins=bins).forward(x, tf.zeros([200, 1, 3 * bins - 1], x.dtype))
    assert_close(y, x)
    assert_close(log_det, np.zeros([200, 1]))


def test_outside_of_the_interval_it_is_the_identity():
    transform = RationalQuadraticSpline(bins=4, bound=2.0)
    x = tf.constant([[-1e4], [-2.0], [2.0], [2.1], [1e30]], tf.float32)
    h = parameters(4, 5, 3.0, np.float32)
    for direction in (transform.forward, transform.inverse):
        there, log_det = direction(x, h)
        np.testing.assert_array_equal(there, x)
        np.testing.assert_array_equal(log_det, np.zeros([5, 1]))
    for gradient in transform.vjp(x, x, h, tf.ones_like(x), tf.ones_like(x)):
        assert np.all(np.isfinite(gradient))


def test_it_goes_smoothly_into_the_identity():
    transform, h = RationalQuadraticSpline(bins=4, bound=2.0), tf.repeat(parameters(4, 1), 2, axis=0)
    y, log_det = transform.forward(tf.constant([[-2 + 1e-9], [2 - 1e-9]], tf.float64), h)
    assert_close(y, [[-2], [2]], 1e-8)
    assert_close(log_det, np.zeros([2, 1]), 1e-7)


@pytest.mark.parametrize("dtype,tolerance", [(np.float32, 5e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("bins,size", [(2, 0.5), (8, 0.5), (8, 3.0), (32, 1.0), (2, 10.0), (8, 10.0)])
def test_round_trip(bins, size, dtype, tolerance):
    """Exact up to the rounding of y and x, also at knots, and in bins that are far steeper at one end than inside."""
    transform, n = RationalQuadraticSpline(bins=bins), 5000
    x, h = points(n, dtype=dtype), parameters(bins, n, size, dtype)
    y, log_det = transform.forward(x, h)
    back, inverse_log_det = transform.inverse(y, h)
    assert back.dtype == x.dtype and np.all(np.isfinite(log_det)) and np.all(np.isfinite(inverse_log_det))
    assert np.all(np.abs(transform.forward(back, h)[0] - y) <= tolerance * (1 + np.abs(y)))
    assert np.all(np.abs(back - x) <= tolerance * (1 + np.exp(-log_det)))
    knots = tf.constant(np.linspace(-3, 3, n)[:, np.newaxis] * np.ones([1, 1]), dtype)
    equal = tf.zeros_like(h)
    assert_close(transform.inverse(transform.forward(knots, equal)[0], equal)[0], knots, tolerance)


@pytest.mark.parametrize("part,size", [("slopes", 1e4), ("slopes", 1e8), ("slopes", 1e10), ("all", 1e4)])
def test_slopes_far_above_the_mean_slope_of_their_bins(part, size):
    """In float32: x is restored up to its own rounding and that of y divided by the slope, and so is y."""
    transform, n = RationalQuadraticSpline(), 5000
    x, h = points(n, dtype=np.float32), parameters(8, n, size, np.float32).numpy()
    if part == "slopes":
        h[..., :16] = 0
    y, log_det = transform.forward(x, h)
    back, inverse_log_det = transform.inverse(y, h)
    assert np.all(np.isfinite(inverse_log_det))
    assert np.all(np.abs(back - x) <= 2e-4 * (1 + np.exp(-log_det)))
    assert np.all(np.abs(transform.forward(back, h)[0] - y) <= 2e-5 * (1 + np.abs(y)))


@pytest.mark.parametrize("size", [0.5, 5.0])
def test_monotone(size):
    n = 3001
    x = tf.constant(np.linspace(-4, 4, n)[:, np.newaxis])
    h = tf.repeat(parameters(8, 1, size), n, axis=0)
    y, _ = RationalQuadraticSpline().forward(x, h)
    assert np.all(np.diff(y[:, 0]) > 0)


def test_the_gradient_of_the_inverse_is_the_inverse_of_the_jacobian():
    transform, n = RationalQuadraticSpline(bins=5), 100
    x, h = points(n), parameters(5, n)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, h])
        y, log_det = transform.forward(x, h)
    dy_dx, dy_dh, dlog_dx, dlog_dh = (
        tape.gradient(t, source, unconnected_gradients="zero").numpy()
        for t, source in ((y, x), (y, h), (log_det, x), (log_det, h))
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([y, h])
        back, inverse_log_det = transform.inverse(y, h)
    assert_gradient_close(tape.gradient(back, y), 1 / dy_dx)
    assert_gradient_close(tape.gradient(back, h), -dy_dh / dy_dx[..., None])
    assert_gradient_close(tape.gradient(inverse_log_det, y), -dlog_dx / dy_dx)
    along = dlog_dx / dy_dx
    assert_gradient_close(tape.gradient(inverse_log_det, h), along[..., None] * dy_dh - dlog_dh)


def test_compiled_by_xla_and_with_batches_of_unknown_size():
    transform, n = RationalQuadraticSpline(bins=4), 40
    y, h = points(n, dtype=np.float32), parameters(4, n, dtype=np.float32)

    def both(y, h):
        return *transform.inverse(y, h), *transform.forward(y, h)

    assert_same_compiled(both, y, h, 1e-5)
    assert transform.inverse(y[:0], h[:0])[0].shape == (0, 1)


@pytest.mark.parametrize("dtype", [slow(np.float32), slow(np.float64)])
def test_gradients_compiled_by_xla_and_with_batches_of_unknown_size(dtype):
    transform, n = RationalQuadraticSpline(bins=4), 40
    y, h = points(n, dtype=dtype), parameters(4, n, dtype=dtype)

    def all_of(y, h):
        with tf.GradientTape() as tape:
            tape.watch([y, h])
            x, log_det = transform.inverse(y, h)
        return x, log_det, *tape.gradient([x, log_det], [y, h]), *transform.vjp(x, y, h, y, tf.ones_like(y))

    assert_same_compiled(all_of, y, h, 2e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"bins": 1}, "bins=1 must be an integer of at least 2"),
        ({"bins": 501}, "bins=501 must be at most 500"),
        ({"bound": 0.0}, "bound=0.0 must be a positive number"),
        ({"bound": float("nan")}, "bound=nan must be"),
        ({"bound": float("inf")}, "bound=inf must be"),
    ],
)
def test_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        RationalQuadraticSpline(**fields)
