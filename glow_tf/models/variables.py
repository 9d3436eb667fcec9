"""The variables of a model, and their paths."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf import parameters
from glow_tf.config import ModelConfig
from glow_tf.networks import zero_layer


def layer_name(index: int, layer: Any) -> str:
    """Returns a layer's name from its index and class, such as `01_steps`, a component of its variables' paths."""
    return f"{index:02d}_{type(layer).__name__.lower()}"


def model_parameters(config: ModelConfig, seed: int) -> Iterator[tuple[str, parameters.Nest]]:
    """Yields path and parameters of each layer, such as `layers/01_steps`, of the classifier, and of the dequantizer.

    All of them draw from one random generator, so the initial values of a layer must be made before the next layer is
    requested.
    """
    rng = np.random.default_rng(seed)
    for i, (layer, shape) in enumerate(zip(config.layers, config.shapes()[:-1], strict=True)):
        nest = layer.parameters(shape, rng)
        if nest:
            yield f"layers/{layer_name(i, layer)}", nest
    if config.classifier:
        yield "classifier", zero_layer.parameters(config.shapes()[-1][-1], config.num_classes)
    nest = config.dequantizer.parameters(config.image_shape, rng)
    if nest:
        yield "dequantizer", nest


def has_learned_dequantizer(config: ModelConfig) -> bool:
    """Returns whether the dequantization noise has parameters."""
    return bool(config.dequantizer.parameters(config.image_shape, np.random.default_rng(0)))


def parameter_specs(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """Yields path, shape and trainability of each of `Flow(config).named_variables()`, without creating a flow."""
    for prefix, nest in model_parameters(config, 0):
        for path, parameter in parameters.flatten_nest(nest, prefix):
            yield path, tuple(np.shape(parameter)), parameters.is_trainable(parameter)


def parameter_count(config: ModelConfig) -> int:
    """Returns the number of trainable parameters of a model, without creating a flow."""
    return sum(math.prod(shape) for _, shape, trainable in parameter_specs(config) if trainable)


def create(nest: parameters.Nest, path: str, dtype: tf.DType) -> dict[str, Any]:
    """Creates the variables for a nest of parameters, of `dtype`, or int64 for integers, named by their paths.

    TensorFlow keeps int32 variables in host memory, where code that XLA compiles for a GPU cannot read them.
    """
    return {
        name: create(value, f"{path}/{name}", dtype)
        if isinstance(value, Mapping)
        else _variable(value, f"{path}/{name}", dtype)
        for name, value in nest.items()
    }


def _variable(parameter: parameters.Parameter | np.ndarray, path: str, dtype: tf.DType) -> tf.Variable:
    value = parameters.initial_value(parameter)
    dtype = dtype if np.issubdtype(value.dtype, np.floating) else tf.int64
    return tf.Variable(value, dtype=dtype, trainable=parameters.is_trainable(parameter), name=path)


def merge_nests(nest: parameters.Nest, other: parameters.Nest) -> dict[str, Any]:
    """Returns `nest` with the leaves of `other` added."""
    added = {
        name: merge_nests(nest.get(name, {}), value) if isinstance(value, Mapping) else value
        for name, value in other.items()
    }
    return {**nest, **added}
