"""Uniform dequantization."""

import dataclasses

from glow_tf.dequantization import random
from glow_tf.dequantization.base import Dequantizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform(Dequantizer):
    """Uniform noise within each bin: log q(x | image) = D log 2^n_bits (Theis et al. 2016; the official code).

    Examples:
      >>> dequantizer = glow_tf.dequantization.Uniform(n_bits=5)
      >>> images = tf.constant([[0.0, 128.0, 255.0]])
      >>> x, log_q = dequantizer.noise(images, {}, seed=tf.constant([0, 1]))
      >>> dequantizer.to_images(x).numpy()
      array([[  0, 128, 248]], dtype=uint8)
      >>> np.allclose(log_q, 3 * 5 * np.log(2))
      True
    """

    def noise(self, images, tensors, seed, context=None):
        return self.within_bins(images, random.uniform_like(images, seed))
