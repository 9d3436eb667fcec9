"""Event shapes."""

import math


def leaving_shape(shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Returns the shape of the channels that leave the flow after a layer; None if all enter the next one.

    Args:
      shape: event shape of the layer's input.
      output_shape: event shape of the next layer's input.
    """
    positions = math.prod(output_shape[:-1])
    channels = math.prod(shape) // positions - output_shape[-1]
    return (*output_shape[:-1], channels) if channels else None
