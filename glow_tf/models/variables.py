"""Nests of variables, and their paths."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.models import layers


def create(arrays: Mapping[str, Any], path: str, dtype: tf.DType) -> dict[str, Any]:
    """A nest of variables like the nest `arrays`, of `dtype`, or int64 where the array is; named by their paths.

    Not int32, of which TensorFlow keeps variables in the host's memory, where what XLA compiles for a GPU reads none.
    """
    return {
        name: create(value, f"{path}/{name}", dtype)
        if isinstance(value, Mapping)
        else tf.Variable(
            value,
            dtype=tf.int64 if np.issubdtype(value.dtype, np.integer) else dtype,
            trainable=name not in layers.FIXED,
            name=f"{path}/{name}",
        )
        for name, value in arrays.items()
    }


def by_path(nest: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The leaves of a nest by their paths, such as `network/conv1/kernel`, after `prefix`."""
    leaves = {}
    for name, value in nest.items():
        path = f"{prefix}/{name}" if prefix else name
        leaves.update(by_path(value, path) if isinstance(value, Mapping) else {path: value})
    return leaves
