"""Encoding and decoding of arrays of any length."""

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models.checks import check_finite, check_labels, warn_if_not_finite
from glow_tf.models.derived import DerivedCache
from glow_tf.models.flow import Flow
from glow_tf.models.seeds import int_seed

# Values in a default batch (images x pixels x channels): 64 images at 64x64x3, 4 at 256x256x3.
_BATCH_NUMBERS = 4 * 256 * 256 * 3
_LARGEST_BATCH = 64


def default_batch_size(config: ModelConfig) -> int:
    """Returns a batch size that makes good use of a machine and fits into its memory."""
    return max(1, min(_LARGEST_BATCH, _BATCH_NUMBERS // config.dimensions))


class Codec:
    """Encodes and decodes in batches of equal size, compiled once; 1x1 convolutions are inverted when weights change.

    Args:
      flow: the model.
      batch_size: images per batch; by default `default_batch_size`.
    """

    def __init__(self, flow: Flow, batch_size: int | None = None):
        self.flow = flow
        self.batch_size = batch_size or default_batch_size(flow.config)
        self._derived = DerivedCache(flow)
        self._encode = tf.function(self._encode_batch, autograph=False)
        self._decode = tf.function(self._decode_batch, autograph=False)

    def encode(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Encodes images [N, H, W, C] uint8 as latents [N, D] float32, with `labels` [N] for a conditional model."""
        (latents,) = self._in_batches(self._encode, images, labels)
        return latents

    def decode(self, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Decodes latents [N, D] to images [N, H, W, C] uint8, with `labels` [N] for a conditional model.

        The values are those of `Flow.decode`. Non-finite images, as from extreme latents, are logged as a warning.

        Raises:
          ValueError: if a latent is not finite.
        """
        z = np.asarray(z, self.flow.dtype.as_numpy_dtype)
        check_finite(self.flow.config, np.isfinite(z).all(axis=tuple(range(1, z.ndim))))
        images, finite = self._in_batches(self._decode, z, labels)
        warn_if_not_finite(self.flow.config, finite)
        return images

    def _encode_batch(self, images, labels):
        return self.flow.runtime.map_batch(lambda *batch: (self.flow.encode(*batch),), images, labels)

    def _decode_batch(self, z, labels):
        decode = functools.partial(self.flow.decode_and_check, derived=self._derived())
        return self.flow.runtime.map_batch(decode, z, labels)

    def _in_batches(self, function: Callable, values: np.ndarray, labels: np.ndarray | None) -> list[np.ndarray]:
        values, count = np.asarray(values), len(values)
        if not count:
            raise ValueError("There is nothing to encode or decode.")
        if labels is not None and len(labels) != count:
            raise ValueError(f"{count} images or latents need as many labels; there are {len(labels)}.")
        if self.flow.config.conditional:
            check_labels(self.flow.config, labels)
        # All batches have the same size, so that the function is traced once; the padding is cut off.
        size = min(self.batch_size, 2 ** math.ceil(math.log2(count)))
        batches = []
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            row_labels = None if labels is None else tf.constant(np.asarray(labels)[rows], tf.int32)
            batches.append([results.numpy() for results in function(tf.constant(values[rows]), row_labels)])
        return [np.concatenate(results)[:count] for results in zip(*batches, strict=True)]


def draw_latents(flow: Flow, count: int, *, seed: int | None = None) -> np.ndarray:
    """Draws latents from the model's base distribution, [count, D].

    Args:
      flow: the model.
      count: number of latents.
      seed: if given, row i is the same at every call, whatever `count`; by default, latents differ from call to call,
        as determined by `tf.random.set_seed`.
    """
    seed = int_seed(seed)
    uniform = np.stack([np.random.default_rng([seed, i]).random(flow.config.dimensions) for i in range(count)])
    # The quantiles of 0 and 1 are infinite, and the largest float32 below 1 is 1 - 2^-24.
    uniform = np.clip(uniform.astype(np.float32), np.float32(2**-32), np.float32(1 - 2**-24))
    return flow.base(0.0, 1.0).quantile(uniform).numpy()
