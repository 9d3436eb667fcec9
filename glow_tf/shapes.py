"""Event shapes."""

import math


def leaving_shape(shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Returns the shape of what leaves the flow after a layer, None if all goes on to the next one.

    Args:
      shape: event shape that the layer takes.
      output_shape: event shape of what goes on.
    """
    positions = math.prod(output_shape[:-1])
    channels = math.prod(shape) // positions - output_shape[-1]
    return (*output_shape[:-1], channels) if channels else None
