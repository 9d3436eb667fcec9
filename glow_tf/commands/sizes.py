"""Sizes of a model to measure."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glow_tf.config import ModelConfig

MODELS = ("glow", "flow_plus_plus", "jet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Size of a model for square colour images, and of its batches.

    Attributes:
      K: steps of flow per level.
      L: number of levels; not for `jet`, which has one.
      width: hidden channels of the coupling networks.
      image_size: side of the images in pixels, a multiple of 2^L.
      batch_size: images per batch.
      model: `glow`, `flow_plus_plus` without its variational dequantization, or `jet`; the networks of the latter two
        have two blocks.
    """

    K: int
    L: int
    width: int
    image_size: int
    batch_size: int
    model: str = "glow"

    def config(self, gradient: str = "reversible") -> "ModelConfig":
        """Returns the config of the model."""
        # Imported here, as PyTorch peers do not import TensorFlow, and its import time may be measured.
        from glow_tf.models import presets

        shape = (self.image_size, self.image_size, 3)
        if self.model == "jet":
            return presets.jet(shape, self.K, self.width, blocks=2, gradient=gradient)
        if self.model == "flow_plus_plus":
            couplings = ((0, self.K),) * self.L
            return presets.flow_plus_plus(
                shape, couplings, self.width, blocks=2, dequantizer="uniform", gradient=gradient
            )
        return presets.glow(shape, self.K, self.L, self.width, gradient=gradient)
