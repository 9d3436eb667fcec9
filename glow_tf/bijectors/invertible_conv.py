"""Invertible 1x1 convolution (Kingma & Dhariwal 2018, section 3.2)."""

import numpy as np
import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.runtime import products

PLU_PARAMETERS = ("permutation", "sign", "lower", "upper", "log_diagonal")


class InvertibleConv1x1(base.Bijector):
    """A learned linear map of the channels, the same at every position.

      forward:          y[h, w, :] = x[h, w, :] @ weight
      forward log-det:  H * W * log|det weight|
      inverse:          x[h, w, :] = y[h, w, :] @ weight^-1
      inverse log-det:  -H * W * log|det weight|

    The determinant and the inverse are arguments, so that the owner of the parameters can compute them once:
    with `plu_matrices` for the PLU form (equation 10), or with `dense_matrices` for a full matrix.

    Args:
      weight: [C, C].
      inverse_weight: [C, C], the inverse of `weight`.
      log_abs_det: scalar, log|det weight|.
      event_ndims: rank of an event; 3 for [H, W, C], 2 for [T, C], 1 for [C].

    Kingma & Dhariwal 2018, section 3.2, equations 9 to 11.
    """

    def __init__(
        self,
        weight: tf.Tensor,
        inverse_weight: tf.Tensor,
        log_abs_det: tf.Tensor,
        *,
        event_ndims: int = 3,
        validate_args: bool = False,
        name: str = "invertible_conv1x1",
    ):
        weight = base.reference(weight)
        matrices = base.Deferred(lambda *matrices: matrices, weight, inverse_weight, log_abs_det)
        self._set(matrices, weight.shape, event_ndims=event_ndims, validate_args=validate_args, name=name)

    @classmethod
    def from_plu(cls, permutation, sign, lower, upper, log_diagonal, **kwargs) -> "InvertibleConv1x1":
        """Returns the convolution whose weight is in PLU form; see `plu_matrices` for the arguments."""
        lower = base.reference(lower)
        matrices = base.Deferred(plu_matrices, permutation, sign, lower, upper, log_diagonal)
        return cls._from_parameters(matrices, lower.shape, **kwargs)

    @classmethod
    def from_dense(cls, weight, **kwargs) -> "InvertibleConv1x1":
        """Returns the convolution with the invertible matrix `weight`: [C, C]."""
        weight = base.reference(weight)
        return cls._from_parameters(base.Deferred(dense_matrices, weight), weight.shape, **kwargs)

    @classmethod
    def _from_parameters(cls, matrices: base.Deferred, shape: tf.TensorShape, **kwargs) -> "InvertibleConv1x1":
        # Without `__init__`, whose matrices would be computed once more.
        bijector = cls.__new__(cls)
        bijector._set(matrices, shape, **kwargs)
        return bijector

    def _set(
        self,
        matrices: base.Deferred,
        shape: tf.TensorShape,
        *,
        event_ndims: int = 3,
        validate_args: bool = False,
        name: str = "invertible_conv1x1",
    ) -> None:
        if shape.rank != 2 or shape[0] != shape[1]:
            raise ValueError(f"weight must have shape [C, C]; it has {shape}.")
        self._matrices = matrices
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    def forward_and_log_det(self, x):
        weight, _, log_abs_det = self._matrices()
        return mix_channels(x, weight), base.broadcast_log_det(base.positions(x) * log_abs_det, x)

    def inverse_and_log_det(self, y):
        _, inverse_weight, log_abs_det = self._matrices()
        return mix_channels(y, inverse_weight), base.broadcast_log_det(-base.positions(y) * log_abs_det, y)


def mix_channels(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Computes `x @ weight` over the last axis as one matrix product: [..., C_in] and [C_in, C_out] to [..., C_out]."""
    flat = products.matmul(tf.reshape(x, [-1, x.shape[-1]]), weight)
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [weight.shape[-1]]], 0))


def plu_matrices(
    permutation: tf.Tensor,
    sign: tf.Tensor,
    lower: tf.Tensor,
    upper: tf.Tensor,
    log_diagonal: tf.Tensor,
    inverse: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes matrices P L (U + diag(sign * exp(log_diagonal))), stacked or single (equation 10).

    Args:
      permutation: [..., C] int; row i of the weight is row permutation[i] of the product of the other factors.
      sign: [..., C], fixed signs of the diagonal, +1 or -1.
      lower: [..., C, C]; only the strictly lower triangle is used, and the diagonal is 1.
      upper: [..., C, C]; only the strictly upper triangle is used.
      log_diagonal: [..., C], the logarithm of the diagonal's magnitude.
      inverse: [..., C, C], the inverse of the weight, if already known, to avoid computing it.

    Returns:
      The weight, [..., C, C], its inverse, [..., C, C], and log|det weight| = sum(log_diagonal), [...].
    """
    channels = lower.shape[-1]
    identity = tf.eye(channels, dtype=lower.dtype)
    below = tf.linalg.band_part(tf.ones_like(identity), -1, 0) - identity
    unit_lower = lower * below + identity
    full_upper = upper * tf.transpose(below) + tf.linalg.diag(sign * tf.exp(log_diagonal))
    permutation_matrix = tf.one_hot(permutation, channels, dtype=lower.dtype)
    weight = products.matmul(permutation_matrix, products.matmul(unit_lower, full_upper))
    log_det = tf.reduce_sum(log_diagonal, axis=-1)
    if inverse is not None:
        return weight, _known_inverse(weight, inverse), log_det
    inverse = tf.linalg.triangular_solve(unit_lower, tf.linalg.matrix_transpose(permutation_matrix), lower=True)
    inverse = tf.linalg.triangular_solve(full_upper, inverse, lower=False)
    return weight, inverse, log_det


def dense_matrices(weight: tf.Tensor, inverse: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns `weight`: [..., C, C], its inverse, computed unless given, and log|det weight|: [...]."""
    weight = tf.convert_to_tensor(weight)
    inverse = tf.linalg.inv(weight) if inverse is None else _known_inverse(weight, inverse)
    return weight, inverse, _log_abs_det(weight, inverse)


@tf.custom_gradient
def _log_abs_det(weight: tf.Tensor, inverse: tf.Tensor):
    """Computes log|det weight|: [...], with the gradient d log|det W| = tr(W^-1 dW) from the known inverse."""
    # By QR decomposition, as XLA does not support `tf.linalg.slogdet`.
    triangular = tf.linalg.qr(weight).r
    log_abs_det = tf.reduce_sum(tf.math.log(tf.abs(tf.linalg.diag_part(triangular))), axis=-1)

    def gradient(upstream):
        # The gradient of slicing the determinants arrives as IndexedSlices.
        upstream = tf.convert_to_tensor(upstream)
        return upstream[..., tf.newaxis, tf.newaxis] * tf.linalg.matrix_transpose(inverse), None

    return log_abs_det, gradient


@tf.custom_gradient
def _known_inverse(weight: tf.Tensor, inverse: tf.Tensor):
    """Returns `inverse` with the gradient of the inverse of `weight`: dW^-1 = -W^-1 dW W^-1."""

    def gradient(upstream):
        transposed = tf.linalg.matrix_transpose(inverse)
        return -products.matmul(transposed, products.matmul(upstream, transposed)), None

    return tf.identity(inverse), gradient


def plu_parameters(weight: np.ndarray) -> dict[str, np.ndarray]:
    """Decomposes `weight`: [..., C, C] into the arguments of `plu_matrices`.

    Raises:
      ValueError: if a matrix is singular or not finite.
    """
    try:
        # `tf.linalg.lu` rejects singular matrices, but not NaN.
        weight = tf.debugging.check_numerics(np.asarray(weight, np.float64), "weight")
        factors, order = (t.numpy() for t in tf.linalg.lu(weight))
    except tf.errors.InvalidArgumentError as error:
        raise ValueError("A 1x1 convolution's matrix is singular or not finite: it has no PLU form.") from error
    diagonal = np.diagonal(factors, axis1=-2, axis2=-1)
    return {
        # tf.linalg.lu returns the row of the weight for each row of the product L U: the inverse of `permutation`.
        "permutation": np.argsort(order, axis=-1),
        "sign": np.sign(diagonal),
        "lower": np.tril(factors, -1),
        "upper": np.triu(factors, 1),
        "log_diagonal": np.log(np.abs(diagonal)),
    }


def random_rotations(rng: np.random.Generator, count: int, channels: int) -> np.ndarray:
    """Draws orthogonal matrices [count, C, C] from the Haar measure, the initial values of section 3.2."""
    # In TensorFlow, as NumPy's BLAS takes minutes if another process is using the cores.
    q, r = (t.numpy() for t in tf.linalg.qr(rng.standard_normal((count, channels, channels))))
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[:, np.newaxis, :]
