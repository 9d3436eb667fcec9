"""Matrix products and convolutions in a given precision, independently of the process's TF32 setting.

NVIDIA GPUs since Ampere compute products of float32 tensors in TF32 by default, which keeps 11 significant bits of each
operand: too few to invert a flow. Here the precision of each product is explicit:

  float32   on a GPU, each operand is split into two parts that TF32 represents, a = a_high + a_low, and

              a b = a_high b_high + a_low b_high + a_high b_low + O(2^-22),

            is one product of three times the inner size, exact to the last bits of a float32 in both TF32 and float32
            (Markidis et al. 2018, "NVIDIA Tensor Core Programmability"; Ootomo & Yokota 2022). Elsewhere, the product
            is a plain one.
  tf32      operands are rounded to TF32 first: the result is the same on every device, up to the summation order.
  bfloat16  operands already have this type.

Gradients have the precision of their product.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from glow_tf.arguments import one_of
from glow_tf.mode import NETWORK_PRECISIONS
from glow_tf.runtime import devices

# Significant bits of a float32 that TF32 lacks.
_LOST_BITS = 13

Multiply = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def matmul(
    a: tf.Tensor,
    b: tf.Tensor,
    precision: str = "float32",
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> tf.Tensor:
    """Computes the matrix product of `a` and `b`.

    Args:
      a: floats [..., n, k].
      b: floats [..., k, m], of the dtype of `a`, with its leading axes; or [k, m].
      precision: `float32` or `tf32`; matters only for operands in float32.
      transpose_a: whether `a` is [..., k, n].
      transpose_b: whether `b` is [..., m, k].

    Returns:
      Floats [..., n, m].
    """
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    if (a.shape.rank or 0) > 2 and b.shape.rank == 2:
        a = tf.linalg.matrix_transpose(a) if transpose_a else a
        flat = matmul(tf.reshape(a, [-1, tf.shape(a)[-1]]), b, precision, transpose_b=transpose_b)
        shape = tf.concat([tf.shape(a)[:-1], tf.shape(flat)[-1:]], 0)
        return tf.ensure_shape(tf.reshape(flat, shape), [*a.shape[:-1], flat.shape[-1]])
    multiply = functools.partial(tf.matmul, transpose_a=transpose_a, transpose_b=transpose_b)
    if _is_plain(a.dtype, precision):
        return multiply(a, b)
    again = functools.partial(matmul, precision=precision)

    @tf.custom_gradient
    def product(a, b):
        def gradient(dy):
            da = (
                again(b, dy, transpose_a=transpose_b, transpose_b=True)
                if transpose_a
                else again(dy, b, transpose_b=not transpose_b)
            )
            db = (
                again(dy, a, transpose_a=True, transpose_b=transpose_a)
                if transpose_b
                else again(a, dy, transpose_a=not transpose_a)
            )
            return da, db

        axes = (-2 if transpose_a else -1), (-1 if transpose_b else -2)
        return _multiplied(multiply, a, b, axes, precision), devices.with_present_target(gradient)

    return product(a, b)


def conv2d(x: tf.Tensor, kernel: tf.Tensor, padding: str, precision: str = "float32") -> tf.Tensor:
    """Computes a convolution with stride 1.

    Args:
      x: floats [B, H, W, C_in].
      kernel: floats [h, w, C_in, C_out], of the dtype of `x`.
      padding: `SAME` or `VALID`.
      precision: `float32` or `tf32`; matters only for operands in float32.

    Returns:
      Floats [B, H', W', C_out].
    """
    x, kernel = tf.convert_to_tensor(x), tf.convert_to_tensor(kernel)
    if x.shape[0] == 0:
        return _empty_conv2d(x, kernel, padding)
    if _is_plain(x.dtype, precision):
        return tf.nn.conv2d(x, kernel, strides=1, padding=padding)
    return _Convolution(padding, precision)(x, kernel)


def _empty_conv2d(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Returns the convolution of an empty batch, which TensorFlow gives the input's shape on CPUs with AVX-512."""
    height, width, _, outputs = kernel.shape
    sides = x.shape[1:3] if padding == "SAME" else (x.shape[1] - height + 1, x.shape[2] - width + 1)
    kernel = tf.reshape(kernel, [-1, outputs])
    return tf.reshape(tf.reshape(x, [0, kernel.shape[0]]) @ kernel, [0, *sides, outputs])


class _Convolution:
    """A convolution and its two gradients, where the gradients of each are the other two.

    With y = forward(x, k), the three are the derivatives of <y, dy>, which is linear in each of x, k and dy, with
    respect to dy, x and k.
    """

    def __init__(self, padding: str, precision: str):
        self._padding, self._precision = padding, precision
        self._options = {"strides": [1, 1, 1, 1], "padding": padding}

    def __call__(self, x, kernel):
        multiply = functools.partial(tf.nn.conv2d, strides=1, padding=self._padding)

        @tf.custom_gradient
        def forward(x, kernel):
            def gradient(dy):
                return self._input_gradient(tf.shape(x), kernel, dy), self._kernel_gradient(tf.shape(kernel), x, dy)

            return _multiplied(multiply, x, kernel, (3, 2), self._precision), devices.with_present_target(gradient)

        return forward(x, kernel)

    def _input_gradient(self, shape, kernel, dy):
        def multiply(kernel, dy):
            return tf.raw_ops.Conv2DBackpropInput(input_sizes=shape, filter=kernel, out_backprop=dy, **self._options)

        @tf.custom_gradient
        def input_gradient(kernel, dy):
            def gradient(dx):
                return self._kernel_gradient(tf.shape(kernel), dx, dy), self(dx, kernel)

            return _multiplied(multiply, kernel, dy, (3, 3), self._precision), devices.with_present_target(gradient)

        return input_gradient(kernel, dy)

    def _kernel_gradient(self, shape, x, dy):
        def multiply(x, dy):
            return tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=shape, out_backprop=dy, **self._options)

        @tf.custom_gradient
        def kernel_gradient(x, dy):
            def gradient(dkernel):
                return self._input_gradient(tf.shape(x), dkernel, dy), self(x, dkernel)

            return _multiplied(multiply, x, dy, (0, 0), self._precision), devices.with_present_target(gradient)

        return kernel_gradient(x, dy)


def round_to_tf32(x: tf.Tensor) -> tf.Tensor:
    """Rounds `x`, float32, to the nearest value with 11 significant bits, ties away from zero, as on GPUs."""
    return tf.where(tf.math.is_nan(x), x, _rounded(x))


def _rounded(x: tf.Tensor) -> tf.Tensor:
    # Unsigned, as TensorFlow places int32 operations on the host. A NaN can become a number.
    bits = tf.bitcast(x, tf.uint32) + tf.constant(1 << (_LOST_BITS - 1), tf.uint32)
    return tf.bitcast(tf.bitwise.bitwise_and(bits, tf.constant((1 << 32) - (1 << _LOST_BITS), tf.uint32)), tf.float32)


def _multiplied(multiply: Multiply, a: tf.Tensor, b: tf.Tensor, axes: tuple[int, int], precision: str) -> tf.Tensor:
    """Computes `multiply(a, b)`, a sum over axes[0] of `a` and axes[1] of `b`, from operands that TF32 represents."""
    if precision == "tf32":
        return multiply(round_to_tf32(a), round_to_tf32(b))
    a_high, b_high = _rounded(a), _rounded(b)
    # The low part of a NaN is NaN.
    a_low, b_low = a - a_high, b - b_high
    return multiply(tf.concat([a_high, a_low, a_high], axes[0]), tf.concat([b_high, b_high, b_low], axes[1]))


def _is_plain(dtype: tf.DType, precision: str) -> bool:
    """Returns whether TensorFlow's own product has this precision."""
    one_of("precision", precision, NETWORK_PRECISIONS)
    if dtype != tf.float32 or precision == "bfloat16":
        return True
    return precision == "float32" and devices.target() != "GPU"
