"""Input checks, made before anything is computed."""

import logging
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.config import ModelConfig

_log = logging.getLogger(__name__)

# Cause of non-finite images, and the remedy.
NOT_FINITE = "Latents must be finite, and not far larger than those of the model: lower the temperature or the factor."


def are_pictures(config: ModelConfig) -> bool:
    """Returns whether the data are uint8 images with 1 or 3 channels, which picture files can hold."""
    is_uint8 = config.dequantizer.data_dtype(tf.float32) == tf.uint8
    return config.events == "images" and config.image_shape[-1] in (1, 3) and is_uint8


def check_images(config: ModelConfig, images: tf.Tensor) -> tf.Tensor:
    """Returns images as a tensor [B, H, W, C] of the model's image shape: uint8, or floats for a model of real numbers.

    Raises:
      ValueError: if they have another shape or dtype.
    """
    images = tf.convert_to_tensor(images)
    shape = config.image_shape
    if config.n_bits is None and not images.dtype.is_floating:
        raise ValueError(
            f"This is a model of real numbers, which must be floats; these are {images.dtype.name}. Scale them as for "
            "training: sound of 16 bits is usually divided by 32768."
        )
    if config.n_bits is not None and images.dtype != tf.uint8:
        raise ValueError(
            f"Images must be uint8 with values from 0 to 255; these are {images.dtype.name}. For preprocessed "
            "floats use distribution().log_prob(x) and bijector().forward(x)."
        )
    if not images.shape.is_compatible_with([None, *shape]):
        expected = ", ".join(str(n) for n in ("B", *shape))
        single = " For a single one, add a leading axis: x[None]." if images.shape.is_compatible_with(shape) else ""
        raise ValueError(
            f"{config.events.capitalize()} must have shape [{expected}]; these have {images.shape}.{single}"
        )
    return tf.ensure_shape(images, [None, *shape])


def check_label_count(config: ModelConfig, labels: tf.Tensor | None, n: int | tf.Tensor) -> tf.Tensor | None:
    """Returns labels as they are, if there is one for all or one for each of `n` images; others would be broadcast.

    Raises:
      ValueError: if there is any other number of labels.
    """
    if labels is None or not config.conditional:
        return labels
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 0:
        return labels
    expected = tf.get_static_value(n)
    if not labels.shape.is_compatible_with([None if expected is None else int(expected)]):
        raise ValueError(f"Labels must have shape [] or [{expected}], one for each example; these have {labels.shape}.")
    message = "One label an image is needed."
    with tf.control_dependencies([tf.debugging.assert_equal(tf.size(labels), tf.cast(n, tf.int32), message)]):
        return tf.identity(labels)


def check_labels(config: ModelConfig, labels: tf.Tensor | None) -> tf.Tensor | None:
    """Returns labels as int32, in their given shape; None for a model that is not conditional.

    Raises:
      ValueError: if they are missing, out of range, not whole numbers, or given to a model without labels. Code
        compiled by XLA detects neither labels that are out of range nor those that are not whole numbers.
    """
    if not config.conditional:
        if labels is not None and not config.classifier and config.num_classes == 0:
            raise ValueError("This model knows no labels: it was built with num_classes=0.")
        return None
    if labels is None:
        raise ValueError(f"This model is conditional: labels in 0 .. {config.num_classes - 1} are needed.")
    labels = tf.convert_to_tensor(labels)
    # Of 64 bits, as others would wrap around.
    whole = tf.cast(labels, tf.int64)
    valid = (whole >= 0) & (whole < config.num_classes)
    message = f"Labels must lie in 0 .. {config.num_classes - 1}"
    if labels.dtype.is_floating:
        valid &= tf.cast(whole, labels.dtype) == labels
        message += " and be whole numbers"
    if tf.executing_eagerly() and not bool(tf.reduce_all(valid)):
        raise ValueError(f"{message}; these are {labels.numpy().tolist()}.")
    if not tf.executing_eagerly():
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), [message + ":", labels])]):
            whole = tf.identity(whole)
    return tf.cast(whole, tf.int32)


def check_context(context: Any, dtype: tf.DType, n: int | tf.Tensor | None = None) -> Any:
    """Checks the context of a flow, and returns it as a nest of tensors, with floats cast to `dtype`.

    Args:
      context: nest of tensors [B, ...], or [1, ...] for all examples; or None.
      dtype: dtype of the flow.
      n: number of examples, if there must be one context for all of them or one for each.

    Raises:
      ValueError: if a tensor has no batch axis, or another number of examples.
    """
    if context is None:
        return None

    def checked(leaf):
        leaf = tf.convert_to_tensor(leaf)
        leaf = tf.cast(leaf, dtype) if leaf.dtype.is_floating else leaf
        expected = None if n is None else tf.get_static_value(n)
        if leaf.shape.rank == 0 or (expected is not None and leaf.shape[0] not in (None, 1, int(expected))):
            count = "B" if expected is None else expected
            raise ValueError(f"A context must have shape [{count}, ...] or [1, ...]; this one has {leaf.shape}.")
        return leaf

    return tf.nest.map_structure(checked, context)


def check_temperature(
    temperature: float | tf.Tensor, dtype: tf.DType, n: int | tf.Tensor | None = None
) -> tf.Tensor | tfp.util.DeferredTensor:
    """Returns the temperature as a tensor of `dtype`; reading a variable is deferred.

    Args:
      temperature: factor on the latents' standard deviation.
      dtype: dtype of the flow.
      n: number of samples, if there must be one temperature for all of them or one for each.

    Raises:
      ValueError: if a temperature is negative or not finite, or there is another number of them.
    """
    if isinstance(temperature, tf.Variable):
        return tfp.util.DeferredTensor(temperature, lambda t: tf.cast(t, dtype), dtype=dtype)
    temperature = tf.cast(temperature, dtype)
    static = tf.get_static_value(temperature)
    if static is not None and not (np.isfinite(static) & (static >= 0)).all():
        raise ValueError(f"temperature={static.tolist()} must be finite and not negative.")
    expected = None if n is None else tf.get_static_value(n)
    if n is not None and temperature.shape.rank and not temperature.shape.is_compatible_with([expected]):
        raise ValueError(
            f"temperature must be one number, or one for each of {expected} samples; it has shape {temperature.shape}."
        )
    return temperature


def check_latents(config: ModelConfig, z: tf.Tensor) -> tf.Tensor:
    """Returns latents with the static shape [B, D] of the model.

    Raises:
      ValueError: if they have another shape.
    """
    if not z.shape.is_compatible_with([None, config.dimensions]):
        raise ValueError(f"Latents must have shape [B, {config.dimensions}]; these have {z.shape}.")
    return tf.ensure_shape(z, [None, config.dimensions])


def check_finite(config: ModelConfig, finite: np.ndarray | tf.Tensor) -> None:
    """Checks that images, or their latents, are finite; `finite` is [B] bool.

    Raises:
      ValueError: if some are not; the message states how many.
    """
    reason = _nonfinite_message(config, finite)
    if reason:
        raise ValueError(reason)


def warn_if_not_finite(config: ModelConfig, finite: np.ndarray) -> None:
    """Logs the error that `check_finite` would raise, for batches whose other images are useful."""
    reason = _nonfinite_message(config, finite)
    if reason:
        _log.warning("%s", reason)


def _nonfinite_message(config, finite):
    count = int(np.sum(~np.asarray(finite)))
    return "" if not count else f"{count} of {len(finite)} {config.events} are not finite numbers. {NOT_FINITE}"
