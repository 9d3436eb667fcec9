"""RealNVP's coupling network."""

import dataclasses

import tensorflow as tf

from glow_tf import flops
from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.networks import actnorm
from glow_tf.networks.base import ActnormNetwork
from glow_tf.networks.channels import even_and_odd, interleaved
from glow_tf.networks.convolution import at_every_position, check_positions, convolve, kernel_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resnet(ActnormNetwork):
    """A residual network with weight normalisation (Dinh et al. 2017, section 4.1).

    A 3x3 convolution; residual blocks of ReLU, 3x3 convolution, actnorm, ReLU, 3x3 convolution; actnorm, ReLU and a
    zero-initialised 1x1 convolution. Even output channels are shifts and odd ones are log-scales, in the form of a
    learned factor times tanh (section 3.2); without `bounded`, the outputs are used as they are. For sequences, the
    kernels have 3 and 1 taps.

    Every kernel is g * v / |v| with a learned magnitude g per output channel (Salimans & Kingma 2016). Actnorm replaces
    the paper's batch normalisation.

    Attributes:
      width: hidden channels.
      blocks: number of residual blocks.
      bounded: whether the outputs are pairs of a shift and a bounded log-scale, as for `transforms.AffineExp`; False
        for transforms with another number of parameters.
    """

    blocks: int = 2
    bounded: bool = True

    def __post_init__(self):
        super().__post_init__()
        # Each block adds its own ops to the graph.
        at_least("blocks", self.blocks, 1, most=1000)

    @property
    def parameters_per_dim(self) -> int | None:
        return 2 if self.bounded else None

    def check(self, shape):
        check_positions(shape, "has a convolutional network and ")

    def parameters(self, rng, depth, inputs, outputs, shape):
        if self.bounded and outputs % 2:
            raise ValueError(f"A Resnet has pairs of outputs, and not {outputs}: bounded=False gives any number.")

        def convolution(size: int, n_in: int, n_out: int) -> p.Nest:
            direction = p.normal(rng, 1.0, (depth, *kernel_size(shape, size), n_in, n_out))
            return {"direction": direction, "magnitude": p.ones(depth, n_out), "bias": p.zeros(depth, n_out)}

        width = self.width
        network = {"enter": convolution(3, inputs, width)}
        for i in range(self.blocks):
            network[f"block{i}"] = {
                "conv1": convolution(3, width, width),
                "actnorm": p.actnorm(depth, width),
                "conv2": convolution(3, width, width),
            }
        network["actnorm"] = p.actnorm(depth, width)
        network["leave"] = {**convolution(1, width, outputs), "magnitude": p.zeros(depth, outputs)}
        if self.bounded:
            network["tanh_factor"] = p.ones(depth, outputs // 2)
        return network

    def decays(self, path, shape):
        # The magnitude is the norm of the kernel, whatever the norm of its direction.
        return path.endswith("magnitude")

    def prepare(self, tensors):
        def prepared(layer):
            if "direction" in layer:
                rank = layer["direction"].shape.rank
                unit = tf.math.l2_normalize(layer["direction"], axis=range(1, rank - 1))
                return {"kernel": unit * at_every_position(layer["magnitude"], rank), "bias": layer["bias"]}
            if "logs" in layer:
                return actnorm.scaled(layer)
            return {name: prepared(part) for name, part in layer.items()}

        return {name: layer if name == "tanh_factor" else prepared(layer) for name, layer in tensors.items()}

    def evaluate(self, tensors, x, context, normalize, precision):
        def convolution(layer: dict[str, tf.Tensor], x: tf.Tensor) -> tf.Tensor:
            return convolve(x, layer["kernel"], precision=precision) + layer["bias"]

        h = convolution(tensors["enter"], x)
        for i in range(self.blocks):
            block = tensors[f"block{i}"]
            inner = tf.nn.relu(normalize(block["actnorm"], convolution(block["conv1"], tf.nn.relu(h))))
            h += convolution(block["conv2"], inner)
        h = convolution(tensors["leave"], tf.nn.relu(normalize(tensors["actnorm"], h)))
        if not self.bounded:
            return h
        shift, log_scale = even_and_odd(h)
        return interleaved(shift, tensors["tanh_factor"] * tf.tanh(log_scale))

    def products(self, shape, batch_size, inputs, outputs):
        return [
            flops.convolution(shape, batch_size, 3, inputs, self.width),
            *[flops.convolution(shape, batch_size, 3, self.width, self.width)] * 2 * self.blocks,
            flops.convolution(shape, batch_size, 1, self.width, outputs),
        ]
