"""Uniform dequantization."""

import dataclasses

from glow_tf.dequantization import random
from glow_tf.dequantization.base import Dequantizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform(Dequantizer):
    """Noise that is uniform in each bin: log q(x | image) = D log 2^n_bits (Theis et al. 2016; the official code)."""

    def noise(self, images, tensors, seed, context=None):
        return self.within_bins(images, random.uniform_like(images, seed))
