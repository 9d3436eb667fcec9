"""Resizes and crops images in a graph, to the same pixels as `glow_tf.data.images` does with Pillow.

Pillow resamples the rows of an image, then its columns. It rounds the weights to fixed point, and the results of either
pass to integers. The same is done here in float64, which is exact for sums of such products.
"""

from collections.abc import Callable

import tensorflow as tf

# A weight of 1 in Pillow's fixed point.
_ONE = 2**22
# Number of rows that are converted and resampled at once.
_STRIP = 128


def fit(
    image: tf.Tensor, image_shape: tuple[int, int, int], convert: Callable[[tf.Tensor], tf.Tensor] = tf.identity
) -> tf.Tensor:
    """Resizes the shorter side of an image to match, and crops the centre.

    Args:
      image: [h, w, c] uint8, of any size.
      image_shape: (H, W, C) to return.
      convert: converts rows of the image, [n, w, c], to [n, w, C] uint8 before they are resampled.

    Returns:
      [H, W, C] uint8.
    """
    size = tf.constant(image_shape[:2], tf.float64)
    found = tf.cast(tf.shape(image)[:2], tf.float64)
    scale = tf.reduce_min(found / size)
    extent = scale * size
    # Whole-pixel offsets, as in the data pipeline.
    start = tf.cast(tf.cast((found - extent) / 2, tf.int32), tf.float64)
    # Pixels next to the box have weights as well.
    margin = 2 * tf.math.ceil(tf.maximum(scale, 1)) + 1
    first = tf.maximum(start - margin, 0)
    last = tf.minimum(start + tf.math.ceil(extent) + margin, found)
    (top, left), (bottom, right) = tf.unstack(tf.cast(first, tf.int32)), tf.unstack(tf.cast(last, tf.int32))
    row_weights, column_weights = (
        _weights(first[axis], last[axis], start[axis], extent[axis], image_shape[axis], scale) for axis in (0, 1)
    )

    def resample_columns(rows):
        columns = tf.transpose(convert(rows), [1, 0, 2])
        return tf.transpose(_resample(columns, column_weights), [1, 0, 2])

    image = _in_strips(resample_columns, image[top:bottom, left:right], [None, *image_shape[1:]])
    return tf.ensure_shape(_resample(image, row_weights), image_shape)


def _weights(first, last, start, extent, count, scale):
    """Returns the weight of each pixel from `first` to `last` in each of `count` results, [count, last - first]."""
    # Pillow stores the edges of the box as float32.
    end = tf.cast(start + extent, tf.float32)
    step = tf.cast(end - tf.cast(start, tf.float32), tf.float64) / count
    centers = start + (tf.range(count, dtype=tf.float64) + 0.5) * step
    pixels = tf.range(first, last, dtype=tf.float64) + 0.5
    x = tf.abs(pixels - centers[:, tf.newaxis]) / tf.maximum(step, 1)
    whole = (scale >= 1) & (scale == tf.floor(scale))
    weights = tf.where(whole, tf.cast(x < 0.5, tf.float64), _bicubic(x))
    weights = _ONE * weights / tf.reduce_sum(weights, axis=1, keepdims=True)
    # Halves are rounded away from 0.
    return tf.sparse.from_dense(tf.sign(weights) * tf.floor(tf.abs(weights) + 0.5))


def _bicubic(x):
    """Returns the kernel of bicubic interpolation with a = -1/2, at distances [...]."""
    near = (1.5 * x - 2.5) * x**2 + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return tf.where(x < 1, near, tf.where(x < 2, far, tf.zeros_like(x)))


def _resample(pixels, weights):
    """Resamples the first dimension of [n, m, C] uint8 by weights [N, n], to [N, m, C]."""
    shape = tf.shape(pixels)
    sums = tf.sparse.sparse_dense_matmul(weights, tf.reshape(tf.cast(pixels, tf.float64), [shape[0], -1]))
    values = tf.clip_by_value(tf.floor((sums + _ONE // 2) / _ONE), 0, 255)
    return tf.reshape(tf.cast(values, tf.uint8), tf.concat([weights.dense_shape[:1], tf.cast(shape[1:], tf.int64)], 0))


def _in_strips(function, image, element_shape):
    """Applies a function of rows [n, w, c] to strips of an image, as float64 takes eight times the memory of uint8."""
    count = -(-tf.shape(image)[0] // _STRIP)
    strips = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=element_shape)
    _, strips = tf.while_loop(
        lambda i, _: i < count,
        lambda i, strips: (i + 1, strips.write(i, function(image[i * _STRIP : (i + 1) * _STRIP]))),
        (tf.constant(0), strips),
        parallel_iterations=1,
    )
    return strips.concat()
