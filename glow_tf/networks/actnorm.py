"""Actnorms inside networks, and the output scale of layers that start at zero (the official code)."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from glow_tf.runtime import products

# A channel that varies less than this in the first batch is scaled as if it varied so much: the scale of a constant
# channel (a white border, a black background) would otherwise be the reciprocal of rounding noise.
MIN_STDDEV = 1e-2
# The official code learns logarithms of scales at a third of their size.
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
    """Returns the `bias` and `log_scale`, [C] each, that give the channels of `x`: [..., C] mean 0 and deviation 1.

    Channels with a standard deviation under `MIN_STDDEV` are scaled by no more than its reciprocal.
    """
    x = tf.reshape(x, [-1, x.shape[-1]])
    mean = _column_means(x)
    variance = _column_means(tf.math.squared_difference(x, mean))
    return -mean, -tf.math.log(tf.maximum(tf.sqrt(variance), MIN_STDDEV))


class Initializer:
    """Applies actnorms that normalise what they are given, in place of their own parameters, and keeps these."""

    def __init__(self):
        self._found: dict[int, dict[str, tf.Tensor]] = {}

    def __call__(self, layer: Mapping[str, tf.Tensor], h: tf.Tensor) -> tf.Tensor:
        """Returns `h`: [B, ..., C] with mean 0 and standard deviation 1 of each channel; as `apply`."""
        bias, log_scale = normalizer(h)
        self._found[id(layer)] = {"bias": bias, "logs": log_scale / LOG_SCALE_FACTOR}
        return apply({"bias": bias, "log_scale": log_scale}, h)

    def values(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the parameters of the actnorms among `tensors` that have been applied, as a part of the nest."""
        if id(tensors) in self._found:
            return self._found[id(tensors)]
        parts = {name: self.values(part) for name, part in tensors.items() if isinstance(part, Mapping)}
        return {name: part for name, part in parts.items() if part}


def _column_means(x: tf.Tensor) -> tf.Tensor:
    """Returns the mean of each column of `x`: [N, C], by a matrix product: in a third of a reduction's time."""
    count = tf.shape(x)[0]
    return products.matmul(tf.ones([1, count], x.dtype), x)[0] / tf.cast(count, x.dtype)
