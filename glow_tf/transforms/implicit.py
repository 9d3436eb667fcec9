"""Inverses without a closed form: roots of increasing functions, and implicit differentiation."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from glow_tf.transforms.base import Transform

# More steps than any root takes: each either halves the bracket or is at most half as long as the one before.
_MAX_STEPS = {tf.float32: 80, tf.float64: 160}


def check_dtype(transform: Transform, y: tf.Tensor) -> None:
    """Raises a ValueError if roots of the transform cannot be found in the dtype of `y`."""
    if y.dtype not in _MAX_STEPS:
        allowed = " or ".join(dtype.name for dtype in _MAX_STEPS)
        raise ValueError(f"{type(transform).__name__} computes its inverse in {allowed}; y is {y.dtype.name}.")


def increasing_root(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], low: tf.Tensor, high: tf.Tensor, tolerance: tf.Tensor
) -> tf.Tensor:
    """Finds the roots of N increasing functions by Newton's method, safeguarded by bisection.

    A Newton step is accepted if it stays within the bracket and is at most half as long as the previous step; otherwise
    the bracket is bisected (Press et al. 2007, "Numerical Recipes", section 9.4).

    Args:
      function: maps points [N] to values and derivatives, [N] each.
      low: [N], lower bounds on the roots.
      high: [N], upper bounds on the roots.
      tolerance: [N], the largest Newton step that counts as converged.

    Returns:
      The roots, [N], without gradients; NaN where a value is NaN.
    """
    ulps = 4 * np.finfo(low.dtype.as_numpy_dtype).eps

    def body(x, low, high, step):
        value, slope = function(x)
        below = value < 0
        low, high = tf.where(below, x, low), tf.where(below, high, x)
        newton = x - value / slope
        length = tf.abs(newton - x)
        accepted = (newton >= low) & (newton <= high) & (2 * length <= step)
        rounding = ulps * (tf.abs(x) + tolerance)
        converged = (accepted & (length <= tolerance + rounding)) | (high - low <= rounding)
        moved = tf.where(accepted, newton, low + (high - low) / 2)
        moved = tf.where(tf.math.is_nan(value), value, moved)
        next_step = tf.where(accepted, length, high - low)
        active = step > 0
        done = converged | ~active | tf.math.is_nan(value)
        return tf.where(active, moved, x), low, high, tf.where(done, tf.zeros_like(step), next_step)

    # Loop variables have a single axis, see `bijectors.Stack`.
    carried = (low + (high - low) / 2, low, high, high - low)
    x, *_ = tf.while_loop(
        lambda x, low, high, step: tf.reduce_any(step > 0),
        body,
        tf.nest.map_structure(tf.stop_gradient, carried),
        maximum_iterations=_MAX_STEPS[low.dtype],
        parallel_iterations=1,
    )
    return tf.stop_gradient(x)


def with_gradient(transform: Transform, x: tf.Tensor, y: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
    """Returns `x`, the solution of `transform.forward(x, h)[0] = y`, with its gradients with respect to `y` and `h`.

    They follow from the implicit function theorem, dx = (dy - (dy/dh) dh) / (dy/dx), as do derivatives of any order.
    Forward-mode differentiation needs eager execution and a `vjp` that the transform defines: within a `tf.function`,
    TensorFlow fails on the recursion.
    """

    @tf.custom_gradient
    def solution(x, y, h):
        def gradient(dx):
            # For higher derivatives, `x` must depend on `y` and `h` here, too.
            x_again = solution(x, y, h)
            dy = dx * tf.exp(-transform.forward(x_again, h)[1])
            _, dh = transform.vjp(x_again, y, h, dy, tf.zeros([], dy.dtype))
            return None, dy, -dh

        return tf.identity(x), gradient

    return solution(tf.stop_gradient(x), y, h)
