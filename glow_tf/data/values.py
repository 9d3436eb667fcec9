"""Checks of pixel values, which range from 0 (black) to 255 (white)."""

import logging

import numpy as np

from glow_tf.data.array_file import Rows
from glow_tf.data.indexed import evenly
from glow_tf.data.source import Source

_log = logging.getLogger(__name__)

# Number of images to check, and the largest pixel value that is suspiciously dark.
_SAMPLED = 16
_DARK = 31


def warn_if_dark(source: Source) -> None:
    """Logs a warning if a sample of training images is nearly black, as if white were 1 instead of 255."""
    images = source.sample(_SAMPLED)
    most = int(images.max(initial=0))
    if not len(images) or most > _DARK:
        return
    way_out = f" If {most} stands for white, multiply all by {255 // most}." if most else ""
    _log.warning(
        "%s: the images are black, or nearly: 255 is white, and %d the largest value in the %d looked at.%s",
        source.name,
        most,
        len(images),
        way_out,
    )


def conversion(images: np.ndarray | Rows, name: str) -> str:
    """Describes how to convert images to uint8: the value range of a sample and the NumPy expression.

    Args:
      images: [N, ...] of another dtype, where N is at least 1.
      name: name of the array in the expression.
    """
    kind = images.dtype.kind
    if kind == "b":
        return f"Write {name}.astype(np.uint8) * 255"
    if kind not in "fiu":
        return "Scale and convert them"
    some = np.stack([images[index] for index in evenly(len(images), _SAMPLED)])
    if not np.isfinite(some).all():
        return "They hold values that are not finite; mend these, scale all to 0 to 255, and write .astype(np.uint8)"
    least, most = float(some.min()), float(some.max())
    return f"They range from {least:.5g} to {most:.5g}: {_line(kind, least, most).format(name)}"


def _line(kind: str, least: float, most: float) -> str:
    if kind == "f" and -0.5 <= least < 0 and most <= 0.5:
        return "write np.round(({} + 0.5) * 255).astype(np.uint8)"
    if kind == "f" and -1 <= least < 0 and most <= 1:
        return "write np.round(({} + 1) * 127.5).astype(np.uint8)"
    if least < 0 or most > 65535:
        return "scale them to 0 to 255, and write .astype(np.uint8)"
    if most <= 1:
        return "write np.round({} * 255).astype(np.uint8)"
    if most <= 255:
        return f"write {'np.round({})' if kind == 'f' else '{}'}.astype(np.uint8)"
    bits = next(bits for bits in (10, 12, 14, 16) if most < 2**bits)
    return f"write ({{}} / {2 ** (bits - 8)}).astype(np.uint8), as for {bits} bits"
