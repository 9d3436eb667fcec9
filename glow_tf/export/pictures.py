"""Images as files, inside a graph."""

import tensorflow as tf

# How such files begin: what `tf.io.decode_image` reads.
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")


def decoded(files: tf.Tensor, shape: tuple[int, ...], name: str) -> tf.Tensor:
    """PNG, JPEG, GIF or BMP files as pixels.

    Args:
      files: [B] string.
      shape: [H, W, C] of one image; colours become grey, and grey colours, where C asks for it.
      name: what the caller knows the files as, for errors.

    Returns:
      [B, H, W, C] uint8. It is an error when the graph runs if a file is no image, or one of another size.
    """

    def decode(numbered):
        number, file = numbered
        known = tf.reduce_any([tf.strings.substr(file, 0, len(magic)) == magic for magic in _BEGINNINGS])
        message = f"{name} must be PNG or JPEG files; this one, counted from 0, is not:"
        with tf.control_dependencies([tf.debugging.Assert(known, [message, number])]):
            image = tf.io.decode_image(file, shape[-1], expand_animations=False)
        found = tf.shape(image)
        message = f"{name} must be {shape[0]} pixels high and {shape[1]} wide; the one of this number, from 0, has"
        fits = tf.debugging.Assert(tf.reduce_all(found[:2] == shape[:2]), [message, number, found[:2]])
        with tf.control_dependencies([fits]):
            image = tf.identity(image)
        # Not `tf.ensure_shape`, whose own error, which says less, may come first.
        image.set_shape(shape)
        return image

    numbered = (tf.range(tf.size(files)), files)
    return tf.map_fn(decode, numbered, fn_output_signature=tf.TensorSpec(shape, tf.uint8))


def encoded(images: tf.Tensor) -> tf.Tensor:
    """Images [..., H, W, C] uint8 as PNG files, [...] string."""
    flat = tf.reshape(images, [-1, *images.shape[-3:]])
    files = tf.map_fn(tf.io.encode_png, flat, fn_output_signature=tf.TensorSpec([], tf.string))
    return tf.ensure_shape(tf.reshape(files, tf.shape(images)[:-3]), images.shape[:-3])
