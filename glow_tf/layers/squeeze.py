"""Squeezing of space or time into channels."""

import dataclasses

from glow_tf import bijectors
from glow_tf.arguments import at_least, one_of
from glow_tf.bijectors.squeeze import ORDERS
from glow_tf.layers.base import Layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Squeeze(Layer):
    """Squeezes [H, W, C] to [H/f, W/f, f^2 C], and [T, C] to [T/f, f C].

    Kingma & Dhariwal 2018, figure 2; Dinh et al. 2017, section 3.6.

    Attributes:
      factor: f, the factor by which each side, or the length, is divided.
      order: order of the output channels, `channel_major` as in Glow, or `position_major`; see `bijectors.Squeeze`.

    Examples:
      >>> glow_tf.layers.Squeeze().output_shape((8, 8, 3))
      (4, 4, 12)
    """

    factor: int = 2
    order: str = "channel_major"

    def __post_init__(self):
        at_least("factor", self.factor, 1)
        one_of("order", self.order, ORDERS)

    def output_shape(self, shape):
        if len(shape) not in (2, 3):
            raise ValueError(f"needs an image (H, W, C) or a sequence (T, C); it gets {shape}.")
        f, (*sides, channels) = self.factor, shape
        if any(side % f for side in sides):
            valid_sides = "even sides" if f == 2 else f"sides that are multiples of factor={f}"
            valid_length = f"a length that is a multiple of factor={f}"
            needed = f"an image with {valid_sides}" if len(sides) == 2 else f"a sequence with {valid_length}"
            raise ValueError(f"needs {needed}; it gets {shape}.")
        return *(side // f for side in sides), channels * f ** len(sides)

    def bijector(self, shape, tensors, context=None):
        return bijectors.Squeeze(self.factor, event_ndims=len(shape), order=self.order)
