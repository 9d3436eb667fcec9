"""NICE's coupling network: a deep rectified MLP on flat vectors (Dinh et al. 2015, section 5.1)."""

from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.networks import parameters as p
from glow_tf.runtime import products


def initial_parameters(
    rng: np.random.Generator, depth: int, inputs: int, outputs: int, width: int, blocks: int
) -> dict[str, Any]:
    """Stacked parameters of `depth` networks with `blocks` hidden layers of `width` units; the last layer is zero."""
    sizes = [inputs] + [width] * blocks
    network = {
        f"dense{i}": {
            "kernel": p.normal(rng, np.sqrt(2 / n_in), [depth, n_in, n_out]),
            "bias": np.zeros([depth, n_out]),
        }
        for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    }
    network["leave"] = {"kernel": np.zeros([depth, width, outputs]), "bias": np.zeros([depth, outputs])}
    return network


def parameter_shapes(depth: int, inputs: int, outputs: int, width: int, blocks: int) -> p.Shapes:
    """The paths and shapes of what `initial_parameters` gives, one after the other."""
    for i in range(blocks):
        yield f"dense{i}/kernel", (depth, width if i else inputs, width)
        yield f"dense{i}/bias", (depth, width)
    yield "leave/kernel", (depth, width, outputs)
    yield "leave/bias", (depth, outputs)


def tensors(parameters: dict[str, Any]) -> dict[str, Any]:
    """What `apply` reads: the parameters themselves."""
    return {name: dict(layer) for name, layer in parameters.items()}


def apply(
    tensors: dict[str, Any], x: tf.Tensor, normalize: p.Normalize = p.actnorm, *, precision: str = "float32"
) -> tf.Tensor:
    """[B, inputs] to [B, outputs], with the tensors of one network; it has no actnorm to `normalize`."""
    del normalize
    i = 0
    while f"dense{i}" in tensors:
        x = tf.nn.relu(_dense(tensors[f"dense{i}"], x, precision))
        i += 1
    return _dense(tensors["leave"], x, precision)


def _dense(layer: dict[str, tf.Tensor], x: tf.Tensor, precision: str) -> tf.Tensor:
    return products.matmul(x, layer["kernel"], precision) + layer["bias"]
