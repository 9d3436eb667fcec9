"""Squeezing of positions into channels, see `glow_tf.bijectors.Squeeze`."""

import tensorflow as tf


def squeeze(x: tf.Tensor, factor: int, order: str) -> tf.Tensor:
    """Moves blocks of `factor` positions along each axis into the channels.

    Args:
      x: [B, *positions, C].
      factor: side of a block.
      order: order of the output channels, `channel_major` or `position_major`.

    Returns:
      [B, *blocks, factor^n C], with n axes of positions.

    Raises:
      ValueError: if a side is not a multiple of `factor`.
    """
    *sides, channels = x.shape[1:]
    n = len(sides)
    if any(side % factor for side in sides):
        if n == 1:
            raise ValueError(f"A length of {sides[0]} is not a multiple of {factor}.")
        raise ValueError(f"Sides of {sides[0]}x{sides[1]} are not multiples of {factor}.")
    blocks = [side // factor for side in sides]
    y = tf.reshape(x, [-1, *(size for block in blocks for size in (block, factor)), channels])
    channel, within_block = [2 * n + 1], [*range(2, 2 * n + 1, 2)]
    new_channel = channel + within_block if order == "channel_major" else within_block + channel
    y = tf.transpose(y, [0, *range(1, 2 * n, 2), *new_channel])
    return tf.reshape(y, [-1, *blocks, channels * factor**n])


def unsqueeze(y: tf.Tensor, factor: int, order: str) -> tf.Tensor:
    """Returns the tensor [B, *positions, C] that `squeeze` maps to `y`: [B, *blocks, factor^n C].

    Raises:
      ValueError: if the channels are not a multiple of factor^n.
    """
    *blocks, channels = y.shape[1:]
    n = len(blocks)
    if channels % factor**n:
        raise ValueError(f"{channels} channels are not a multiple of {factor**n}.")
    channel, within_block = [channels // factor**n], [factor] * n
    channel_major = order == "channel_major"
    x = tf.reshape(y, [-1, *blocks, *(channel + within_block if channel_major else within_block + channel)])
    channel_axis, offset = (n + 1, n + 1) if channel_major else (2 * n + 1, n)
    x = tf.transpose(x, [0, *(axis for i in range(1, n + 1) for axis in (i, offset + i)), channel_axis])
    return tf.reshape(x, [-1, *(block * factor for block in blocks), channels // factor**n])
