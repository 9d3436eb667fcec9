"""Random crops, shifts and flips of a batch, drawn for each image from a key and its position in the stream.

An image's draws depend on nothing else: neither on the batch size nor on where the stream was started. NumPy takes a
third of the time of TensorFlow ops on small integers.
"""

from typing import TypeVar

import numpy as np
import tensorflow as tf

# Draws per image: flip, shift down, shift right, top of the crop, left of the crop.
_DRAWS = 5
_INDICES_AT_ONCE = 2**16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Images = TypeVar("Images", np.ndarray, tf.Tensor)


def augment(
    images: np.ndarray, positions: np.ndarray, key: int, size: tuple[int, int], flip: bool, shift: int
) -> np.ndarray:
    """Takes a random crop of `size` from each image, then shifts and flips it at random.

    Args:
      images: uint8 [B, H, W, C].
      positions: integers [B], positions of the images in the stream.
      key: integer that, with the position, determines the draws.
      size: (h, w) of the crop, at most (H, W).
      flip: whether to flip each image left to right with probability 1/2.
      shift: largest shift along either axis, in pixels; edge pixels are repeated.

    Returns:
      uint8 [B, h, w, C].
    """
    count, height, width, channels = images.shape
    # The modulo bias is below 2**-48.
    choices = (2, 2 * shift + 1, 2 * shift + 1, height - size[0] + 1, width - size[1] + 1)
    draws = (_draws(key, positions) % np.array(choices, np.uint64)).astype(np.int64)
    mirror, down, right, top, left = draws.T[..., np.newaxis]
    rows = np.clip(np.arange(size[0]) + down - shift, 0, size[0] - 1) + top + height * np.arange(count)[:, np.newaxis]
    columns = np.clip(np.arange(size[1]) + right - shift, 0, size[1] - 1) + left
    if flip:
        columns = np.where(mirror, columns[:, ::-1], columns)
    # Each pixel is copied as one item rather than three, a few images per call so that the indices stay in the cache.
    pixel = f"V{channels}"
    pixels, cut = np.ascontiguousarray(images).view(pixel).reshape(-1), np.empty((count, *size), pixel)
    at_once = max(1, _INDICES_AT_ONCE // (size[0] * size[1]))
    for i in range(0, count, at_once):
        some = slice(i, i + at_once)
        # All indices are valid; mode="clip" avoids the temporary copy that NumPy makes in case one is not.
        pixels.take(width * rows[some, :, np.newaxis] + columns[some, np.newaxis], out=cut[some], mode="clip")
    return cut.view(np.uint8).reshape(count, *size, channels)


def central_crop(images: Images, size: tuple[int, int]) -> Images:
    """Crops images [..., H, W, C], a tensor or an array, to the central `size`, (h, w)."""
    top, left = ((whole - part) // 2 for whole, part in zip(images.shape[-3:-1], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1], :]


def _draws(key, positions):
    """Returns uniform uint64 [B, _DRAWS] from SplitMix64 (Steele, Lea & Flood 2014).

    SplitMix64 computes its n-th number directly. NumPy's and TensorFlow's generators take one seed per call and would
    need a separate call for each image.
    """
    numbers = positions.astype(np.uint64)[:, np.newaxis] * np.uint64(_DRAWS) + np.arange(1, _DRAWS + 1, dtype=np.uint64)
    # The key is mixed first: the streams of keys that differ by a multiple of _GOLDEN would otherwise overlap.
    return _mix(_mix(np.array([key % 2**64], np.uint64)) + numbers * _GOLDEN)


def _mix(z):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))
