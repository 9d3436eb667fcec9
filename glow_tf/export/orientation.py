"""Orientation of photographs in a graph, from their EXIF data."""

import tensorflow as tf

from glow_tf.export import file_parts

_TAG = 0x0112
_SHORT, _LONG = 3, 4


def orientation(file: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """Reads the orientation of a picture.

    Args:
      file: scalar string, a PNG or JPEG file.
      is_png: scalar bool.

    Returns:
      Scalar int32 from 1 (upright) to 8, numbered as in EXIF; 1 if the file has none. From 5 on, the height of the
      stored picture is the width of the upright one.
    """
    # Damaged data may point anywhere: reads beyond the end are moved back into these zeros.
    file = tf.strings.join([file, "\0" * 32])
    found, start = tf.cond(is_png, lambda: file_parts.png_chunk(file, b"eXIf"), lambda: file_parts.exif_of_jpeg(file))
    return tf.cond(found, lambda: _orientation_of_exif(file, start), lambda: 1)


def turned_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors a stored picture [h, w, c] according to its orientation, from 1 to 8."""

    def transposed():
        return tf.transpose(image, [1, 0, 2])

    branches = [
        lambda: image,
        lambda: image[:, ::-1],
        lambda: image[::-1, ::-1],
        lambda: image[::-1],
        lambda: transposed(),
        lambda: transposed()[:, ::-1],
        lambda: transposed()[::-1, ::-1],
        lambda: transposed()[::-1],
    ]
    return tf.switch_case(orientation - 1, branches)


def _orientation_of_exif(file, start):
    """Reads the orientation from EXIF data, structured as a TIFF file, that starts at position `start`."""
    little = file_parts.read_bytes(file, start, 2) == b"II"
    directory = file_parts.advance(file, start, file_parts.read_int(file, start + 4, 4, little))
    max_count = (tf.strings.length(file) - directory - 2) // 12
    count = tf.clip_by_value(file_parts.read_int(file, directory, 2, little), 0, max_count)
    entries = tf.reshape(file_parts.read_uint8(file, directory + 2, 12 * count), [-1, 12])
    tags, types, values = (file_parts.combine_bytes(entries[:, i : i + 2], little) for i in (0, 2, 8))
    values = tf.where(types == _LONG, file_parts.combine_bytes(entries[:, 8:12], little), values)
    known = (types == _SHORT) | (types == _LONG)
    found = tf.boolean_mask(values, (tags == _TAG) & known & (values >= 1) & (values <= 8))
    return tf.concat([found, [1]], 0)[0]
