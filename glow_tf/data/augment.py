"""Random crops, shifts and flips of a batch, drawn for each image from a key and its position in the stream.

Nothing else goes into a draw: an image's is the same whatever the batch size and wherever the stream was joined.
In NumPy, which takes a third of the time of TensorFlow's operations on small integers.
"""

import numpy as np
import tensorflow as tf

# Draws an image: mirror, move down, move right, crop's top, crop's left.
_DRAWS = 5
_INDICES_AT_ONCE = 2**16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def augment(
    images: np.ndarray, positions: np.ndarray, key: int, size: tuple[int, int], flip: bool, shift: int
) -> np.ndarray:
    """Cuts a random `size` out of each image, then moves and mirrors it at random.

    Args:
        images: uint8 [B, H, W, C].
        positions: integers [B], of the images in their stream.
        key: integer that determines, with the position, the draws.
        size: (h, w) to cut out, at most (H, W).
        flip: whether to mirror left and right with probability 1/2.
        shift: most pixels to move by along either axis; the edge is repeated where it leaves the frame.

    Returns:
        uint8 [B, h, w, C].
    """
    count, height, width, channels = images.shape
    # The remainders' bias is below 2**-48.
    choices = (2, 2 * shift + 1, 2 * shift + 1, height - size[0] + 1, width - size[1] + 1)
    draws = (_draws(key, positions) % np.array(choices, np.uint64)).astype(np.int64)
    mirror, down, right, top, left = draws.T[..., np.newaxis]
    rows = np.clip(np.arange(size[0]) + down - shift, 0, size[0] - 1) + top + height * np.arange(count)[:, np.newaxis]
    columns = np.clip(np.arange(size[1]) + right - shift, 0, size[1] - 1) + left
    if flip:
        columns = np.where(mirror, columns[:, ::-1], columns)
    # A pixel is moved as one item, not as three; a few images at a time, so that the indices stay in the cache.
    pixel = f"V{channels}"
    pixels, cut = np.ascontiguousarray(images).view(pixel).reshape(-1), np.empty((count, *size), pixel)
    at_once = max(1, _INDICES_AT_ONCE // (size[0] * size[1]))
    for i in range(0, count, at_once):
        some = slice(i, i + at_once)
        # The mode changes nothing but that NumPy needs no copy to undo an error.
        pixels.take(width * rows[some, :, np.newaxis] + columns[some, np.newaxis], out=cut[some], mode="clip")
    return cut.view(np.uint8).reshape(count, *size, channels)


def central_crop(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Cuts the central `size`, (h, w), out of images [B, H, W, C]."""
    top, left = ((whole - part) // 2 for whole, part in zip(images.shape[1:3], size, strict=True))
    return images[:, top : top + size[0], left : left + size[1]]


def _draws(key, positions):
    """uint64 [B, _DRAWS], uniform: the SplitMix64 generator (Steele, Lea & Flood 2014), whose n-th number needs no
    other. NumPy's and TensorFlow's generators take one seed a call, and an image's own would mean a call for each."""
    numbers = positions.astype(np.uint64)[:, np.newaxis] * np.uint64(_DRAWS) + np.arange(1, _DRAWS + 1, dtype=np.uint64)
    # Mixed first: the streams of keys that differ by a multiple of the constant would overlap.
    return _mix(_mix(np.array([key % 2**64], np.uint64)) + numbers * _GOLDEN)


def _mix(z):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))
