"""Space to channels."""

import dataclasses

from glow_tf import bijectors
from glow_tf.layers.base import Layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Squeeze(Layer):
    """[H, W, C] to [H/2, W/2, 4C] (Kingma & Dhariwal 2018, section 3.6; Dinh et al. 2017, section 3.6)."""

    def output_shape(self, shape):
        if len(shape) != 3 or shape[0] % 2 or shape[1] % 2:
            raise ValueError(f"needs an image with even sides; it gets {shape}.")
        return shape[0] // 2, shape[1] // 2, 4 * shape[2]

    def bijector(self, shape, tensors, context=None):
        return bijectors.Squeeze()
