"""Dropout, and the base class of networks that use it."""

import dataclasses
from typing import Any

import tensorflow as tf

from glow_tf.networks.base import PrecisionNetwork
from glow_tf.parameters import Nest

# Gives the same bits on every device, and when compiled by XLA.
_ALGORITHM = "philox"


class Dropout:
    """Sets a random fraction of the elements to 0, drawn anew at each call, and scales the rest to preserve the mean.

    Args:
      rate: fraction of the elements that are set to 0.
      seed: [2] int32, a stateless seed; if None, inputs are returned unchanged.
    """

    def __init__(self, rate: float, seed: tf.Tensor | None):
        self._rate, self._seed, self._calls = rate, seed, 0

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        if self._seed is None:
            return x
        self._calls += 1
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._calls, alg=_ALGORITHM)
        # Thresholds bits rather than floats, which XLA derives differently from the same bits.
        bits = tf.random.stateless_uniform(tf.shape(x), seed, None, None, tf.uint32, alg=_ALGORITHM)
        kept = bits >= tf.constant(min(round(self._rate * 2**32), 2**32 - 1), tf.uint32)
        return tf.where(kept, x / (1 - self._rate), tf.zeros([], x.dtype))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropoutNetwork(PrecisionNetwork, abstract=True):
    """Base class of this package's networks with dropout.

    Subclasses define `evaluate`.

    Attributes:
      dropout: fraction of activations that are set to 0 in training.
    """

    dropout: float = 0.0

    def __post_init__(self):
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r} must be at least 0 and less than 1.")

    @property
    def is_random(self):
        return self.dropout > 0

    def decays(self, path, shape):
        # A position embedding has several axes, but is not a kernel.
        return path != "position" and super().decays(path, shape)

    def evaluate(self, tensors: Nest, x: tf.Tensor, context: Any, drop: Dropout, precision: str) -> tf.Tensor:
        """Returns the output [B, ..., outputs].

        Args:
          tensors: what `prepare` returns, without the leading axis.
          x: [B, ..., inputs].
          context: as for `apply`.
          drop: applies dropout.
          precision: precision of the products, see `glow_tf.runtime.products`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no evaluate.")

    def apply_with_precision(self, precision, tensors, x, context, training, seed):
        return self.evaluate(tensors, x, context, self._dropout(training, seed), precision)

    def _dropout(self, training: bool, seed: tf.Tensor | None) -> Dropout:
        if not (training and self.dropout):
            return Dropout(self.dropout, None)
        if seed is None:
            raise ValueError(f"dropout={self.dropout} needs a seed in training.")
        return Dropout(self.dropout, seed)
