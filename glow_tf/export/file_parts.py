"""Reads bytes, numbers and segments of image files in a graph."""

from collections.abc import Callable

import tensorflow as tf

# Maximum number of segments of a file to visit; photographs have a few dozen.
_MOST_PARTS = 1024


def exif_of_jpeg(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the Exif segment of a JPEG file, a scalar string.

    Returns:
      Whether there is one, scalar bool, and where its content starts, scalar int32.
    """

    def is_exif(position):
        return (read_bytes(file, position, 2) == b"\xff\xe1") & (read_bytes(file, position + 4, 6) == b"Exif\0\0")

    def more(position):
        marker = read_bytes(file, position, 2)
        # Segments end where the scan starts.
        return (tf.strings.substr(marker, 0, 1) == b"\xff") & (marker != b"\xff\xda") & ~is_exif(position)

    def following(position):
        # Any number of 0xff bytes may precede a marker.
        length = tf.where(read_bytes(file, position, 2) == b"\xff\xff", 1, 2 + read_int(file, position + 2, 2))
        return advance(file, position, length)

    position = _walk(more, following, 2)
    return is_exif(position), position + 10


def png_chunk(file: tf.Tensor, kind: bytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the first chunk of a type in a PNG file, a scalar string.

    Returns:
      Whether there is one, scalar bool, and where its content starts, scalar int32.
    """

    def is_kind(position):
        return read_bytes(file, position + 4, 4) == kind

    def more(position):
        return (read_bytes(file, position + 4, 4) != b"IEND") & ~is_kind(position)

    position = _walk(more, lambda position: advance(file, position, 12 + read_int(file, position, 4)), 8)
    return is_kind(position), position + 8


def advance(file: tf.Tensor, position: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Returns the position `length` bytes on, or the end if it is beyond it or `length` negative (2^31 and above)."""
    end = tf.strings.length(file)
    return tf.where((length < 0) | (length > end - position), end, position + length)


def read_bytes(file: tf.Tensor, position: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """Returns `size` bytes of a file from `position`, scalar string; the last ones if the position is beyond them."""
    return tf.strings.substr(file, tf.clip_by_value(position, 0, tf.strings.length(file) - size), size)


def read_int(file: tf.Tensor, position: tf.Tensor, size: int, little: tf.Tensor | bool = False) -> tf.Tensor:
    """Reads an integer of `size` bytes as int32, little-endian or big-endian."""
    return combine_bytes(tf.ensure_shape(read_uint8(file, position, size), [size]), little)


def read_uint8(file: tf.Tensor, position: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """Returns `size` bytes of a file as int32 [size]."""
    return tf.cast(tf.io.decode_raw(read_bytes(file, position, size), tf.uint8), tf.int32)


def combine_bytes(values: tf.Tensor, little: tf.Tensor | bool) -> tf.Tensor:
    """Combines bytes along the last axis, [..., n] int32, into integers [...]."""
    values = tf.where(little, values[..., ::-1], values)
    number = values[..., 0]
    for i in range(1, values.shape[-1]):
        number = 256 * number + values[..., i]
    return number


def _walk(more: Callable, following: Callable, start: int) -> tf.Tensor:
    (position,) = tf.while_loop(
        more, lambda position: (following(position),), (tf.constant(start),), maximum_iterations=_MOST_PARTS
    )
    return position
