"""Inverses without a closed form: roots of increasing functions, and their gradients."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from glow_tf.transforms.base import Transform

# More steps than any root takes: a step halves the interval at least, or is half as long as the one before.
_MOST_STEPS = {tf.float32: 80, tf.float64: 160}


def increasing_root(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], low: tf.Tensor, high: tf.Tensor, tolerance: tf.Tensor
) -> tf.Tensor:
    """Finds the root of each of N increasing functions, by Newton's steps where they can be trusted, else by bisection.

    A step is trusted that stays in the interval known to hold the root and is at most half as long as the last one
    (Press et al. 2007, "Numerical Recipes", section 9.4).

    Args:
      function: of points [N], returns values and slopes, [N] each.
      low: [N], at most the root.
      high: [N], at least the root.
      tolerance: [N], the length of a Newton step that has reached the root.

    Returns:
      The roots, [N], without gradient; NaN where a value is NaN.
    """
    ulps = 4 * np.finfo(low.dtype.as_numpy_dtype).eps

    def body(x, low, high, step):
        value, slope = function(x)
        below = value < 0
        low, high = tf.where(below, x, low), tf.where(below, high, x)
        newton = x - value / slope
        length = tf.abs(newton - x)
        trusted = (newton >= low) & (newton <= high) & (2 * length <= step)
        rounding = ulps * (tf.abs(x) + tolerance)
        found = (trusted & (length <= tolerance + rounding)) | (high - low <= rounding)
        moved = tf.where(trusted, newton, low + (high - low) / 2)
        moved = tf.where(tf.math.is_nan(value), value, moved)
        next_step = tf.where(trusted, length, high - low)
        going_on = step > 0
        done = found | ~going_on | tf.math.is_nan(value)
        return tf.where(going_on, moved, x), low, high, tf.where(done, tf.zeros_like(step), next_step)

    # Loops carry tensors of one axis: see `bijectors.Stack`.
    carried = (low + (high - low) / 2, low, high, high - low)
    x, *_ = tf.while_loop(
        lambda x, low, high, step: tf.reduce_any(step > 0),
        body,
        tf.nest.map_structure(tf.stop_gradient, carried),
        maximum_iterations=_MOST_STEPS[low.dtype],
        parallel_iterations=1,
    )
    return tf.stop_gradient(x)


def with_gradient(transform: Transform, x: tf.Tensor, y: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
    """Gives `x`, the solution of `transform.forward(x, h)[0] = y`, its gradient with respect to `y` and `h`.

    It is that of the implicit function theorem, dx = (dy - (dy/dh) dh) / (dy/dx), and so are derivatives of any order.
    """

    @tf.custom_gradient
    def solution(x, y, h):
        def gradient(dx):
            # Of higher derivatives, `x` depends on `y` and `h` here too.
            x_again = solution(x, y, h)
            dy = dx * tf.exp(-transform.forward(x_again, h)[1])
            _, dh = transform.vjp(x_again, y, h, dy, tf.zeros([], dy.dtype))
            return None, dy, -dh

        return tf.identity(x), gradient

    return solution(tf.stop_gradient(x), y, h)
