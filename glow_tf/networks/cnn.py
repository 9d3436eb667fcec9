"""Glow's coupling network."""

import dataclasses
import math

import tensorflow as tf

from glow_tf import flops, official
from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.networks import actnorm
from glow_tf.networks.base import ActnormNetwork
from glow_tf.networks.convolution import check_positions, convolve, kernel_size, positions
from glow_tf.networks.labels import of_labels

_STDDEV = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cnn(ActnormNetwork):
    """A convolutional network with two hidden layers (Kingma & Dhariwal 2018, section 5 and the official code).

    3x3 convolution, actnorm, ReLU; 1x1 convolution, actnorm, ReLU; zero-initialised 3x3 convolution with a bias and a
    learned scale. All but 1x1 convolutions take an indicator of the padding as an additional input channel. For
    sequences, the kernels have 3 and 1 taps.

    Attributes:
      width: hidden channels.
      num_classes: number of label classes, for {"labels": [B] int32} in the context; 0 for none. Each class has a
        learned bias, initially zero, that is added before the first ReLU.
      kernels: sizes of the three kernels, odd. For transforms with many parameters, such as mixtures, most of the work
        is in the last one.
    """

    num_classes: int = 0
    kernels: tuple[int, int, int] = (3, 1, 3)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "kernels", tuple(self.kernels))
        at_least("num_classes", self.num_classes, 0)
        if len(self.kernels) != 3:
            raise ValueError(f"kernels={self.kernels} must be the sides of three kernels.")
        for i, side in enumerate(self.kernels):
            at_least(f"kernels[{i}]", side, 1)
            if side % 2 == 0:
                raise ValueError(f"kernels[{i}]={side} must be odd.")

    def check(self, shape):
        check_positions(shape, "has a convolutional network and ")

    def parameters(self, rng, depth, inputs, outputs, shape):
        # Kernels that extend beyond the border have one more input channel, the indicator of the padding.
        shape1, shape2, shape3 = (
            (depth, *kernel_size(shape, side), channels + (side > 1))
            for side, channels in zip(self.kernels, (inputs, self.width, self.width), strict=True)
        )
        network = {
            "conv1": {"kernel": p.normal(rng, _STDDEV, (*shape1, self.width))},
            "actnorm1": p.actnorm(depth, self.width),
            "conv2": {"kernel": p.normal(rng, _STDDEV, (*shape2, self.width))},
            "actnorm2": p.actnorm(depth, self.width),
            "conv3": {"kernel": p.zeros(*shape3, outputs), **p.actnorm(depth, outputs)},
        }
        if self.num_classes:
            network["label"] = {"kernel": p.zeros(depth, self.num_classes, self.width)}
        return network

    def prepare(self, tensors):
        return {name: actnorm.scaled(layer) if "logs" in layer else dict(layer) for name, layer in tensors.items()}

    def evaluate(self, tensors, x, context, normalize, precision):
        h = x
        for number in (1, 2):
            kernel, layer = tensors[f"conv{number}"]["kernel"], tensors[f"actnorm{number}"]
            added = of_labels(tensors["label"]["kernel"], context, x) if number == 1 and self.num_classes else None
            if normalize is actnorm.apply and _folds(kernel, h):
                activation = tf.nn.relu if added is None else tf.identity
                h = convolve(h, *_folded(kernel, layer), activation=activation, precision=precision)
                h = h if added is None else tf.nn.relu(h + added)
            else:
                h = normalize(layer, convolve(h, kernel, precision=precision))
                h = tf.nn.relu(h if added is None else h + added)
        return actnorm.apply(tensors["conv3"], convolve(h, tensors["conv3"]["kernel"], precision=precision))

    def num_classes_needed(self):
        return self.num_classes

    def products(self, shape, batch_size, inputs, outputs):
        return [
            flops.convolution(shape, batch_size, self.kernels[0], inputs, self.width),
            flops.convolution(shape, batch_size, self.kernels[1], self.width, self.width),
            flops.convolution(shape, batch_size, self.kernels[2], self.width, outputs),
        ]

    def official_variables(self, path, steps):
        found = {}
        for ours, theirs in (("conv1", "l_1"), ("conv2", "l_2"), ("conv3", "l_last")):
            found |= official.step_variable(f"{path}/{ours}/kernel", [f"{step}/f1/{theirs}/W" for step in steps])
        for ours, theirs in (("actnorm1", "l_1"), ("actnorm2", "l_2")):
            found |= official.actnorm_variables(f"{path}/{ours}", [f"{step}/f1/{theirs}/actnorm" for step in steps])
        for ours, theirs in (("bias", "b"), ("logs", "logs")):
            names = [f"{step}/f1/l_last/{theirs}" for step in steps]
            found |= official.step_variable(f"{path}/conv3/{ours}", names, official.raveled)
        return found


def _folds(kernel: tf.Tensor, x: tf.Tensor) -> bool:
    """Returns whether scaling the kernel is cheaper than scaling the output of its convolution with `x`."""
    return positions(x) > math.prod(kernel.shape[:-1])


def _folded(kernel: tf.Tensor, layer: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Folds an actnorm into the convolution before it; returns the kernel and bias of the result.

    (conv(x) + b) * s = conv'(x) + b', where a single fused op computes convolution, bias and ReLU.
    """
    scale = tf.exp(layer["log_scale"])
    return kernel * scale, layer["bias"] * scale
