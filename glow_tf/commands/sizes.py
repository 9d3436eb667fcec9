"""Sizes of a Glow to measure."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glow_tf.config import ModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Size of a Glow for square colour images, and of its batches.

    Attributes:
      K: steps of flow per level.
      L: number of levels.
      width: hidden channels of the coupling networks.
      image_size: side of the images in pixels, a multiple of 2^L.
      batch_size: images per batch.
    """

    K: int
    L: int
    width: int
    image_size: int
    batch_size: int

    def config(self, gradient: str = "reversible") -> "ModelConfig":
        """Returns the config of the model."""
        # Imported here, as PyTorch peers do not import TensorFlow, and its import time may be measured.
        from glow_tf.models import presets

        return presets.glow((self.image_size, self.image_size, 3), self.K, self.L, self.width, gradient=gradient)
