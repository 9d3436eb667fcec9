"""Glow's coupling network (Kingma & Dhariwal 2018, section 5 and the official code).

3x3 convolution, actnorm, ReLU; 1x1 convolution, actnorm, ReLU; 3x3 convolution that starts at zero, with a bias and a
learned scale. The 3x3 convolutions see an indicator of the border.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.networks import parameters as p
from glow_tf.networks.convolution import convolve, positions

_STDDEV = 0.05


def initial_parameters(
    rng: np.random.Generator, depth: int, inputs: int, outputs: int, width: int, blocks: int = 2
) -> dict[str, Any]:
    """Stacked parameters of `depth` networks from `inputs` to `outputs` channels; `blocks` is always 2."""
    del blocks
    return {
        "conv1": {"kernel": p.normal(rng, _STDDEV, [depth, 3, 3, inputs + 1, width])},
        "actnorm1": p.actnorm_parameters(depth, width),
        "conv2": {"kernel": p.normal(rng, _STDDEV, [depth, 1, 1, width, width])},
        "actnorm2": p.actnorm_parameters(depth, width),
        "conv3": {
            "kernel": np.zeros([depth, 3, 3, width + 1, outputs], np.float32),
            **p.actnorm_parameters(depth, outputs),
        },
    }


def parameter_shapes(depth: int, inputs: int, outputs: int, width: int, blocks: int = 2) -> p.Shapes:
    """The paths and shapes of what `initial_parameters` gives, one after the other."""
    del blocks
    yield "conv1/kernel", (depth, 3, 3, inputs + 1, width)
    yield from p.actnorm_shapes("actnorm1", depth, width)
    yield "conv2/kernel", (depth, 1, 1, width, width)
    yield from p.actnorm_shapes("actnorm2", depth, width)
    yield "conv3/kernel", (depth, 3, 3, width + 1, outputs)
    yield from p.actnorm_shapes("conv3", depth, outputs)


def tensors(parameters: dict[str, Any]) -> dict[str, Any]:
    """What `apply` reads, stacked like `parameters`."""
    return {name: p.scaled(layer) if "logs" in layer else dict(layer) for name, layer in parameters.items()}


def apply(
    tensors: dict[str, Any], x: tf.Tensor, normalize: p.Normalize = p.actnorm, *, precision: str = "float32"
) -> tf.Tensor:
    """[B, H, W, inputs] to [B, H, W, outputs], with the tensors of one network."""
    h = x
    for number in (1, 2):
        kernel, actnorm = tensors[f"conv{number}"]["kernel"], tensors[f"actnorm{number}"]
        if normalize is p.actnorm and _folds(kernel, h):
            h = convolve(h, *_folded(kernel, actnorm), activation=tf.nn.relu, precision=precision)
        else:
            h = tf.nn.relu(normalize(actnorm, convolve(h, kernel, precision=precision)))
    return p.actnorm(tensors["conv3"], convolve(h, tensors["conv3"]["kernel"], precision=precision))


def _folds(kernel: tf.Tensor, x: tf.Tensor) -> bool:
    """Whether scaling the kernel takes less than scaling what comes out of its convolution with `x`."""
    return positions(x) > math.prod(kernel.shape[:-1])


def _folded(kernel: tf.Tensor, actnorm: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and bias of the convolution that does what `kernel` and then `actnorm` do.

    conv(x) * s + b * s = conv'(x) + b', of which one operation computes convolution, bias and ReLU.
    """
    scale = tf.exp(actnorm["log_scale"])
    return kernel * scale, actnorm["bias"] * scale
