"""Names and helpers that the coupling networks share.

A network is a module of pure functions:

  initial_parameters(rng, depth, inputs, outputs, width, ...) -> nest of arrays, stacked along a leading axis of `depth`
  parameter_shapes(depth, inputs, outputs, width, ...)        -> their paths and shapes, one after the other
  tensors(parameters)                                         -> nest of tensors, what `apply` reads, stacked alike
  apply(tensors, x, normalize=actnorm, precision="float32")   -> h

`tensors` takes what can be computed for all steps at once out of the loop over them. `normalize(layer, h)` is called
with the tensors {bias, log_scale} of every actnorm; the data-dependent initialisation passes a function of its own.
`precision` is that of matrix products and convolutions, see `glow_tf.runtime.products`.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

# The official code learns logarithms of scales at a third of their size.
LOG_SCALE_FACTOR = 3.0

Shapes = Iterator[tuple[str, tuple[int, ...]]]
Normalize = Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]


def normal(rng: np.random.Generator, stddev: float, shape: list[int]) -> np.ndarray:
    """Draws of N(0, stddev^2), as float32 for flows of every dtype: their weights are the same for one seed."""
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= stddev
    return values


def actnorm_parameters(depth: int, channels: int) -> dict[str, np.ndarray]:
    """Bias and log-scale of an actnorm, both zero: [depth, channels]."""
    return {"bias": np.zeros([depth, channels]), "logs": np.zeros([depth, channels])}


def actnorm_shapes(path: str, depth: int, channels: int) -> Shapes:
    """The paths and shapes of what `actnorm_parameters` gives, at `path`."""
    yield f"{path}/bias", (depth, channels)
    yield f"{path}/logs", (depth, channels)


def scaled(layer: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A layer's tensors with `log_scale` in place of the parameter `logs`."""
    tensors = {name: value for name, value in layer.items() if name != "logs"}
    return {**tensors, "log_scale": LOG_SCALE_FACTOR * layer["logs"]}


def actnorm(layer: dict[str, tf.Tensor], h: tf.Tensor) -> tf.Tensor:
    """(h + bias) * exp(log_scale): an actnorm inside a network, and the output scale of a zero-initialised layer."""
    return (h + layer["bias"]) * tf.exp(layer["log_scale"])


def even_and_odd(h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """h[..., 0::2] and h[..., 1::2] of [B, ..., C], C even: where the official code has shifts and log-scales.

    TensorFlow copies such slices, and makes their gradients, element by element; so it takes a quarter of the time.
    """
    even, odd = tf.unstack(tf.reshape(h, [-1, *h.shape[1:-1], h.shape[-1] // 2, 2]), axis=-1)
    return even, odd


def interleaved(even: tf.Tensor, odd: tf.Tensor) -> tf.Tensor:
    """The [B, ..., C] of which `even_and_odd` gives these halves."""
    return tf.reshape(tf.stack([even, odd], axis=-1), [-1, *even.shape[1:-1], 2 * even.shape[-1]])
