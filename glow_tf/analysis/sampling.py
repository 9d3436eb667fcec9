"""Sampling in batches."""

import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from glow_tf.analysis.codec import default_batch_size
from glow_tf.models.checks import check_labels, warn_if_not_finite
from glow_tf.models.derived import DerivedCache
from glow_tf.models.flow import Flow
from glow_tf.models.labels import sample_labels
from glow_tf.models.seeds import stateless_seed


class Sampler:
    """Decodes the same latents at each call, compiled once, to follow a model during training or to draw many samples.

    Args:
      flow: the model.
      count: number of images.
      temperature: factor on the latents' standard deviation.
      labels: [count] int; by default, a conditional model cycles through its classes.
      seed: seed of the latents; by default, they differ from sampler to sampler.
      batch_size: images per batch; by default `default_batch_size`.
    """

    def __init__(
        self,
        flow: Flow,
        count: int,
        *,
        temperature: float = 1.0,
        labels: np.ndarray | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
    ):
        if labels is None and flow.config.conditional:
            labels = sample_labels(count, flow.config.num_classes)
        if flow.config.conditional:
            check_labels(flow.config, labels)
        self._flow = flow
        self._count = count
        self._temperature = temperature
        self._labels = None if labels is None else np.asarray(labels, np.int32)
        self._seed = stateless_seed(seed)
        self._batch_size = min(batch_size or default_batch_size(flow.config), count)
        self._derived = DerivedCache(flow)
        self._draw = tf.function(self._sample, autograph=False)

    def __call__(self) -> np.ndarray:
        """Returns the images decoded with the flow's current weights, [count, H, W, C] uint8."""
        return np.concatenate([images for images, _ in self.batches()])

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the same images in batches, [B, H, W, C] uint8, each with its latents, [B, D]."""
        # All batches have the same size, so that the function is traced once; the padding is cut off.
        all_finite = []
        for start in range(0, self._count, self._batch_size):
            labels = None
            if self._labels is not None:
                labels = tf.constant(np.resize(self._labels[start:], self._batch_size))
            seed = self._seed + [start, 0]
            temperature = tf.constant(self._temperature, self._flow.dtype)
            drawn = self._draw(temperature, labels, seed)
            images, finite, latents = (values.numpy()[: self._count - start] for values in drawn)
            all_finite.append(finite)
            yield images, latents
        warn_if_not_finite(self._flow.config, np.concatenate(all_finite))

    def _sample(self, temperature, labels, seed):
        z = self._flow.sample_latents(self._batch_size, temperature, labels, seed)
        decode = functools.partial(self._flow.decode_and_check, derived=self._derived())
        return *self._flow.runtime.map_batch(decode, z, labels), z
