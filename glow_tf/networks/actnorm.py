"""Actnorm inside networks, and the output scale of zero-initialised layers (the official code)."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from glow_tf.runtime import products

# Lower bound on a channel's standard deviation in the first batch: the scale of a constant channel (a white border, a
# black background) would otherwise be the reciprocal of rounding noise.
MIN_STDDEV = 1e-2
# As in the official code, the learned parameter is the log-scale divided by this factor.
LOG_SCALE_FACTOR = 3.0

Normalize = Callable[[Mapping[str, tf.Tensor], tf.Tensor], tf.Tensor]


def scaled(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a layer's tensors with `log_scale` in place of the parameter `logs`."""
    tensors = {name: value for name, value in layer.items() if name != "logs"}
    return {**tensors, "log_scale": LOG_SCALE_FACTOR * layer["logs"]}


def apply(layer: Mapping[str, tf.Tensor], h: tf.Tensor) -> tf.Tensor:
    """Returns (h + bias) * exp(log_scale)."""
    return (h + layer["bias"]) * tf.exp(layer["log_scale"])


def normalizer(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the `bias` and `log_scale`, [C] each, that normalise each channel of `x`: [..., C] to mean 0, stddev 1.

    Standard deviations are clamped to at least `MIN_STDDEV`.
    """
    x = tf.reshape(x, [-1, x.shape[-1]])
    mean = _column_means(x)
    variance = _column_means(tf.math.squared_difference(x, mean))
    return -mean, -tf.math.log(tf.maximum(tf.sqrt(variance), MIN_STDDEV))


class Initializer:
    """Applies actnorms with parameters that normalise their inputs instead of their own, and records these."""

    def __init__(self):
        self._found: dict[int, dict[str, tf.Tensor]] = {}

    def __call__(self, layer: Mapping[str, tf.Tensor], h: tf.Tensor) -> tf.Tensor:
        """Returns `h`: [B, ..., C], each channel normalised to mean 0 and stddev 1; has the signature of `apply`."""
        bias, log_scale = normalizer(h)
        self._found[id(layer)] = {"bias": bias, "logs": log_scale / LOG_SCALE_FACTOR}
        return apply({"bias": bias, "log_scale": log_scale}, h)

    def values(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the recorded parameters of the actnorms among `tensors`, as a subset of the nest."""
        if id(tensors) in self._found:
            return self._found[id(tensors)]
        parts = {name: self.values(part) for name, part in tensors.items() if isinstance(part, Mapping)}
        return {name: part for name, part in parts.items() if part}


def _column_means(x: tf.Tensor) -> tf.Tensor:
    """Returns the column means of `x`: [N, C] by a matrix product, which takes a third of the time of a reduction."""
    count = tf.shape(x)[0]
    return products.matmul(tf.ones([1, count], x.dtype), x)[0] / tf.cast(count, x.dtype)
