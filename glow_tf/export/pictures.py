"""Image files in a graph."""

import tensorflow as tf

from glow_tf.export.endpoints import require

# Magic numbers of the formats.
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def decoded(files: tf.Tensor, shape: tuple[int, ...], name: str) -> tf.Tensor:
    """Decodes PNG and JPEG files.

    Args:
      files: [B] string.
      shape: [H, W, C] of one image; images are converted to grey (C=1) or RGB (C=3).
      name: name of the input in errors.

    Returns:
      [B, H, W, C] uint8. The graph fails when it runs if a file is not an image, or has another size.
    """

    def decode(numbered):
        number, file = numbered
        is_png = _begins(file, _PNG)
        known = is_png | _begins(file, _JPEG)
        message = f"{name} must be PNG or JPEG files; this one, counted from 0, is not:"
        with tf.control_dependencies([require(known, message, number)]):
            # Checked by the header first: a small file can decode to a billion pixels.
            size = tf.cond(is_png, lambda: png_size(file, number), lambda: tf.image.extract_jpeg_shape(file)[:2])
        message = f"{name} must be {shape[0]} pixels high and {shape[1]} wide; the one of this number, from 0, has"
        with tf.control_dependencies([require(tf.reduce_all(size == shape[:2]), message, number, size)]):
            file = tf.identity(file)
        image = tf.io.decode_image(file, shape[-1], expand_animations=False)
        # Not `tf.ensure_shape`, whose less helpful error could come first.
        image.set_shape(shape)
        return image

    def png_size(file, number):
        # Decoders skip unknown chunks, even in the place of IHDR, and take the size from a later one.
        kind, size = _png_header(file)
        message = f"{name} must be PNG files that begin with IHDR; this one, counted from 0, does not:"
        with tf.control_dependencies([require(kind == b"IHDR", message, number)]):
            return tf.identity(size)

    numbered = (tf.range(tf.size(files)), files)
    return tf.map_fn(decode, numbered, fn_output_signature=tf.TensorSpec(shape, tf.uint8))


def _begins(file: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.strings.substr(file, 0, len(magic)) == magic


def _png_header(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first chunk's type and, if it is IHDR (PNG specification, 11.2.2), height and width, [2] int32."""
    header = tf.strings.substr(tf.strings.join([file, "\0" * 24]), 12, 12)
    width_and_height = tf.io.decode_raw(tf.strings.substr(header, 4, 8), tf.int32, little_endian=False)
    return tf.strings.substr(header, 0, 4), tf.ensure_shape(width_and_height, [2])[::-1]


def encoded(images: tf.Tensor) -> tf.Tensor:
    """Encodes images [..., H, W, C] uint8 as PNG files, [...] string."""
    flat = tf.reshape(images, [-1, *images.shape[-3:]])
    files = tf.map_fn(tf.io.encode_png, flat, fn_output_signature=tf.TensorSpec([], tf.string))
    return tf.ensure_shape(tf.reshape(files, tf.shape(images)[:-3]), images.shape[:-3])
