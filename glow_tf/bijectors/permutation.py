"""Fixed permutations of the channels."""

import numpy as np
import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.runtime.permuting import permuted


class Permutation(base.Bijector):
    """A fixed reordering of the last axis.

      forward:          y[..., i] = x[..., indices[i]]
      forward log-det:  0
      inverse:          x[..., indices[i]] = y[..., i]
      inverse log-det:  0

    Args:
      indices: [C] int, a permutation of 0 .. C-1.
      event_ndims: rank of an event; 3 for [H, W, C], 2 for [T, C], 1 for [C].

    `Permutation.reverse(C)` is the fixed permutation of RealNVP, and `Permutation.shuffle(C, seed)` the random one in
    the ablation of Kingma & Dhariwal 2018, section 5.
    """

    def __init__(
        self, indices: tf.Tensor, *, event_ndims: int = 3, validate_args: bool = False, name: str = "permutation"
    ):
        static = tf.get_static_value(indices)
        if static is not None and sorted(np.ravel(static).tolist()) != list(range(np.size(static))):
            raise ValueError(f"indices={static!r} is not a permutation of 0 .. {np.size(static) - 1}.")
        # `tf.math.invert_permutation` would run on the host even with a GPU.
        self._both = base.Deferred(lambda indices: (indices, tf.argsort(indices)), indices)
        super().__init__(event_ndims=event_ndims, validate_args=validate_args, name=name)

    @classmethod
    def reverse(cls, channels: int, **kwargs) -> "Permutation":
        """Returns the permutation that reverses `channels` channels."""
        return cls(np.arange(channels)[::-1], **kwargs)

    @classmethod
    def shuffle(cls, channels: int, seed: int, **kwargs) -> "Permutation":
        """Draws a random permutation of `channels` channels from `seed`."""
        return cls(np.random.default_rng(seed).permutation(channels), **kwargs)

    def forward_and_log_det(self, x):
        indices, inverse_indices = self._both()
        return permuted(x, indices, inverse_indices), tf.zeros(tf.shape(x)[:1], x.dtype)

    def inverse_and_log_det(self, y):
        indices, inverse_indices = self._both()
        return permuted(y, inverse_indices, indices), tf.zeros(tf.shape(y)[:1], y.dtype)
