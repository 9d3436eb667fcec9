"""Decodes and encodes image files in a graph.

Pictures give the same pixels as in the data pipeline; see `glow_tf.data.images` and `glow_tf.data.picture_files`.
"""

import numpy as np
import tensorflow as tf

from glow_tf.data.augment import central_crop
from glow_tf.data.images import stored_shape
from glow_tf.export import file_parts, resampling
from glow_tf.export.endpoints import require
from glow_tf.export.orientation import orientation, turned_upright

# Magic numbers of the formats.
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Pillow's fixed-point weights of red, green and blue in grey.
_LUMA, _LUMA_BITS = (19595, 38470, 7471), 16
_DEEP_TO_EIGHT_BITS = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)


def decode_files(
    files: tf.Tensor,
    image_shape: tuple[int, int, int],
    name: tf.Tensor,
    most_pixels: int,
    *,
    crop_from: int | None = None,
    exact: bool = False,
) -> tf.Tensor:
    """Decodes PNG and JPEG files, turned upright, composited on white, resized and centre-cropped.

    Args:
      files: [B] string.
      image_shape: (H, W, C) of one image; images are converted to grey (C=1) or RGB (C=3).
      name: scalar string, name of the input in errors.
      most_pixels: largest picture to decode, in pixels; pictures are decoded one at a time.
      crop_from: side of the square that pictures are fitted to before a central crop; None for no crop.
      exact: whether to reject pictures of a size other than H x W, rather than to resize and crop them.

    Returns:
      [B, H, W, C] uint8. The graph fails at run time if a file is not an image, is too large or, with `exact`, has
      another size.
    """
    height, width, channels = image_shape
    fitted_shape = stored_shape(image_shape, crop_from)

    def require_file(condition, number, message, *values):
        return require(condition, tf.strings.join([name, message]), number, *values)

    def decode(numbered):
        number, file = numbered
        is_png = _starts_with(file, _PNG)
        known = is_png | _starts_with(file, _JPEG)
        message = " must be PNG or JPEG files; this one, counted from 0, is not:"
        with tf.control_dependencies([require_file(known, number, message)]):
            # The size is checked in the header first: a small file can decode to a billion pixels.
            size = tf.cond(is_png, lambda: png_size(file, number), lambda: tf.image.extract_jpeg_shape(file)[:2])
            turn = orientation(file, is_png)
        size = tf.where(turn >= 5, size[::-1], size)
        if exact:
            fits = tf.reduce_all(size == image_shape[:2])
            message = f" must be {height} pixels high and {width} wide; index (from 0) and size of the wrong one:"
        else:
            fits = tf.reduce_all(size > 0) & (tf.reduce_prod(tf.cast(size, tf.int64)) <= most_pixels)
            message = f" must have at most {most_pixels} pixels; index (from 0), height and width of the wrong one:"
        with tf.control_dependencies([require_file(fits, number, message, size)]):
            file = tf.identity(file)
        image = tf.cond(is_png, lambda: png(file, number), lambda: _decode_jpeg(file, size, max(fitted_shape[:2])))
        image = turned_upright(image, turn)
        if exact:
            return tf.ensure_shape(_converted(image, channels), image_shape)
        fitted = resampling.fit(image, fitted_shape, lambda rows: _converted(rows, channels))
        return central_crop(fitted, image_shape[:2])

    def png_size(file, number):
        # Decoders skip unknown chunks, even in place of IHDR, and read the size from a later one.
        kind, size = _png_header(file)
        message = " must be PNG files that begin with IHDR; this one, counted from 0, does not:"
        with tf.control_dependencies([require_file(kind == b"IHDR", number, message)]):
            return tf.identity(size)

    def png(file, number):
        image, is_dark = _decode_png(file)
        message = " has 16 bits, of which 12 or fewer are used: it would be black; scale it up. Its number, from 0:"
        with tf.control_dependencies([require_file(~is_dark, number, message)]):
            return tf.identity(image)

    with tf.device("CPU:0"):
        numbered = (tf.range(tf.size(files)), files)
        # One at a time, as large pictures take much memory.
        return tf.map_fn(
            decode, numbered, fn_output_signature=tf.TensorSpec(image_shape, tf.uint8), parallel_iterations=1
        )


def _starts_with(file: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.strings.substr(file, 0, len(magic)) == magic


def _png_header(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first chunk's type and, if that is IHDR (PNG specification, 11.2.2), height and width, [2] int32."""
    header = tf.strings.substr(tf.strings.join([file, "\0" * 24]), 12, 12)
    width_and_height = tf.io.decode_raw(tf.strings.substr(header, 4, 8), tf.int32, little_endian=False)
    return tf.strings.substr(header, 0, 4), tf.ensure_shape(width_and_height, [2])[::-1]


def _decode_png(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a PNG file to [h, w, 3] or, if it is transparent, [h, w, 4].

    Also returns whether it has 16 bits and is darker than 4096 of 65535 without being black; see `images.decode_file`.
    """
    depth, kind = file_parts.read_int(file, 24, 1), file_parts.read_int(file, 25, 1)
    is_grey, has_alpha = kind == 0, kind >= 4
    keyed, _ = file_parts.png_chunk(file, b"tRNS")
    # Opaque images are not decoded to four channels, as TensorFlow's alpha is not 255 for those of fewer than 8 bits.
    # Pillow ignores a transparent grey, except in images of 1 or 8 bits.
    transparent = has_alpha | keyed & ~(is_grey & (depth != 1) & (depth != 8))

    def decode(channels):
        image = tf.io.decode_png(file, channels)
        return image, (depth == 16) & _is_dark(image[..., :3], 4096 >> 8)

    return tf.case(
        [(is_grey & (depth == 16), lambda: _decode_deep_grey(file)), (transparent, lambda: decode(4))],
        default=lambda: decode(3),
    )


def _decode_deep_grey(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    deep = tf.cast(tf.io.decode_png(file, 1, tf.uint16), tf.int32)
    image = tf.repeat(tf.gather(tf.constant(_DEEP_TO_EIGHT_BITS), deep), 3, axis=-1)
    # Before the conversion, which rounds 3984 up to 16.
    return image, _is_dark(deep, 4096)


def _is_dark(values: tf.Tensor, beyond: int) -> tf.Tensor:
    brightest = tf.cast(tf.reduce_max(values), tf.int32)
    return (brightest > 0) & (brightest < beyond)


def _decode_jpeg(file: tf.Tensor, size: tf.Tensor, side: int) -> tf.Tensor:
    """Decodes a JPEG file, a large one at 1/2, 1/4 or 1/8 of its size, as `picture_files.opened` does.

    Args:
      file: scalar string.
      size: [2] int32, height and width.
      side: side that the picture will be reduced to; it is not decoded below twice that.
    """

    def decode_at(ratio):
        # Pillow's method; others are faster, but give other pixels.
        return lambda: tf.io.decode_jpeg(file, 3, ratio, dct_method="INTEGER_ACCURATE")

    scale = tf.reduce_min(size) // (2 * side)
    return tf.case([(scale >= ratio, decode_at(ratio)) for ratio in (8, 4, 2)], default=decode_at(1))


def _converted(rows: tf.Tensor, channels: int) -> tf.Tensor:
    """Composites RGBA, [n, w, 4], on white, leaves RGB as it is, and converts both to [n, w, channels] uint8."""
    rows = tf.cond(tf.shape(rows)[-1] == 4, lambda: _on_white(rows), lambda: rows)
    rows = tf.ensure_shape(rows, [None, None, 3])
    if channels == 3:
        return rows
    sums = tf.reduce_sum(tf.cast(rows, tf.int32) * _LUMA, axis=-1, keepdims=True)
    return tf.cast((sums + 2 ** (_LUMA_BITS - 1)) // 2**_LUMA_BITS, tf.uint8)


def _on_white(rows: tf.Tensor) -> tf.Tensor:
    """Composites RGBA on white as Pillow does, in fixed point."""
    color, alpha = tf.split(tf.cast(rows, tf.int32), [3, 1], axis=-1)
    sums = 128 * (color * alpha + 255 * (255 - alpha) + 128)
    return tf.cast(((sums // 256 + sums) // 256) // 128, tf.uint8)


def encode_png(images: tf.Tensor) -> tf.Tensor:
    """Encodes images [..., H, W, C] uint8 as PNG files, [...] string."""
    flat = tf.reshape(images, [-1, *images.shape[-3:]])
    files = tf.map_fn(tf.io.encode_png, flat, fn_output_signature=tf.TensorSpec([], tf.string))
    return tf.ensure_shape(tf.reshape(files, tf.shape(images)[:-3]), images.shape[:-3])
