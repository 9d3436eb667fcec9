"""RealNVP's coupling network: residual, with weight normalisation (Dinh et al. 2017, section 4.1).

A 3x3 convolution; residual blocks of ReLU, 3x3 convolution, actnorm, ReLU, 3x3 convolution, added to their input;
actnorm, ReLU, 1x1 convolution that starts at zero. Of its outputs the even ones are shifts, the odd ones log-scales: a
learned factor times tanh (section 3.2).

Every kernel is g * v / |v| with a learned magnitude g per output channel (Salimans & Kingma 2016). Actnorm takes the
place of the paper's batch normalisation.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.networks import parameters as p
from glow_tf.networks.convolution import convolve


def initial_parameters(
    rng: np.random.Generator, depth: int, inputs: int, outputs: int, width: int, blocks: int
) -> dict[str, Any]:
    """Stacked parameters of `depth` networks from `inputs` to `outputs` channels with `blocks` residual blocks."""

    def convolution(size: int, n_in: int, n_out: int) -> dict[str, np.ndarray]:
        direction = p.normal(rng, 1.0, [depth, size, size, n_in, n_out])
        return {"direction": direction, "magnitude": np.ones([depth, n_out]), "bias": np.zeros([depth, n_out])}

    network: dict[str, Any] = {"enter": convolution(3, inputs, width)}
    for i in range(blocks):
        network[f"block{i}"] = {
            "conv1": convolution(3, width, width),
            "actnorm": p.actnorm_parameters(depth, width),
            "conv2": convolution(3, width, width),
        }
    network["actnorm"] = p.actnorm_parameters(depth, width)
    leave = convolution(1, width, outputs)
    network["leave"] = {**leave, "magnitude": np.zeros([depth, outputs])}
    network["tanh_factor"] = np.ones([depth, outputs // 2])
    return network


def parameter_shapes(depth: int, inputs: int, outputs: int, width: int, blocks: int) -> p.Shapes:
    """The paths and shapes of what `initial_parameters` gives, one after the other."""

    def convolution(path: str, size: int, n_in: int, n_out: int) -> p.Shapes:
        yield f"{path}/direction", (depth, size, size, n_in, n_out)
        yield f"{path}/magnitude", (depth, n_out)
        yield f"{path}/bias", (depth, n_out)

    yield from convolution("enter", 3, inputs, width)
    for i in range(blocks):
        yield from convolution(f"block{i}/conv1", 3, width, width)
        yield from p.actnorm_shapes(f"block{i}/actnorm", depth, width)
        yield from convolution(f"block{i}/conv2", 3, width, width)
    yield from p.actnorm_shapes("actnorm", depth, width)
    yield from convolution("leave", 1, width, outputs)
    yield "tanh_factor", (depth, outputs // 2)


def tensors(parameters: dict[str, Any]) -> dict[str, Any]:
    """What `apply` reads, stacked like `parameters`: the kernels normalised."""

    def of(layer):
        if "direction" in layer:
            unit = tf.math.l2_normalize(layer["direction"], axis=[1, 2, 3])
            return {"kernel": unit * layer["magnitude"][:, None, None, None, :], "bias": layer["bias"]}
        if "logs" in layer:
            return p.scaled(layer)
        return {name: of(part) for name, part in layer.items()}

    return {name: of(layer) if isinstance(layer, dict) else layer for name, layer in parameters.items()}


def apply(
    tensors: dict[str, Any], x: tf.Tensor, normalize: p.Normalize = p.actnorm, *, precision: str = "float32"
) -> tf.Tensor:
    """[B, H, W, inputs] to [B, H, W, outputs], with the tensors of one network."""

    def convolution(layer: dict[str, tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        return convolve(x, layer["kernel"], precision=precision) + layer["bias"]

    h = convolution(tensors["enter"], x)
    i = 0
    while f"block{i}" in tensors:
        block = tensors[f"block{i}"]
        inner = tf.nn.relu(normalize(block["actnorm"], convolution(block["conv1"], tf.nn.relu(h))))
        h += convolution(block["conv2"], inner)
        i += 1
    h = convolution(tensors["leave"], tf.nn.relu(normalize(tensors["actnorm"], h)))
    shift, log_scale = p.even_and_odd(h)
    log_scale = tensors["tanh_factor"] * tf.tanh(log_scale)
    return p.interleaved(shift, log_scale)
