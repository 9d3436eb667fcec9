"""Checks of images and labels, made before anything is computed."""

import tensorflow as tf

from glow_tf.config import ModelConfig


def check_images(config: ModelConfig, images: tf.Tensor) -> tf.Tensor:
    """Images as a tensor, uint8 [B, H, W, C] as the model has them.

    Raises:
      ValueError: if they are not.
    """
    images = tf.convert_to_tensor(images)
    shape = config.image_shape
    if images.dtype != tf.uint8:
        raise ValueError(
            f"Images must be uint8 with values from 0 to 255; these are {images.dtype.name}. For preprocessed "
            "floats use distribution().log_prob(x) and bijector().forward(x)."
        )
    if images.shape.rank != len(shape) + 1 or not images.shape[1:].is_compatible_with(shape):
        expected = ", ".join(str(n) for n in ("B", *shape))
        raise ValueError(f"Images must have shape [{expected}]; these have {images.shape}.")
    return images


def check_label_count(config: ModelConfig, labels: tf.Tensor | None, n: int | tf.Tensor) -> tf.Tensor | None:
    """Labels as they are, if there is one for all or one for each of `n` images; others would be repeated.

    Raises:
      ValueError: if there is another number of them.
    """
    if labels is None or not config.conditional:
        return labels
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 0:
        return labels
    expected = tf.get_static_value(n)
    if not labels.shape.is_compatible_with([None if expected is None else int(expected)]):
        raise ValueError(f"Labels must have shape [] or [{expected}], one for each image; these have {labels.shape}.")
    with tf.control_dependencies([tf.debugging.assert_equal(tf.size(labels), n, "One label an image is needed.")]):
        return tf.identity(labels)


def check_labels(config: ModelConfig, labels: tf.Tensor | None) -> tf.Tensor | None:
    """Labels as int32 [n]; None for a model that is not conditional.

    Raises:
      ValueError: if they are missing, out of range, or given to a model that knows none. What XLA compiles cannot find
        labels out of range.
    """
    if not config.conditional:
        if labels is not None and not config.classifier and config.num_classes == 0:
            raise ValueError("This model knows no labels: it was built with num_classes=0.")
        return None
    if labels is None:
        raise ValueError(f"This model is conditional: labels in 0 .. {config.num_classes - 1} are needed.")
    labels = tf.reshape(tf.cast(labels, tf.int32), [-1])
    in_range = (labels >= 0) & (labels < config.num_classes)
    message = f"Labels must lie in 0 .. {config.num_classes - 1}"
    if tf.executing_eagerly() and not bool(tf.reduce_all(in_range)):
        raise ValueError(f"{message}; these are {labels.numpy().tolist()}.")
    if not tf.executing_eagerly():
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(in_range), [message + ":", labels])]):
            labels = tf.identity(labels)
    return labels
