"""The network that conditions Flow++'s dequantization on the image."""

import dataclasses

from glow_tf import flops
from glow_tf.arguments import at_least
from glow_tf.networks.attention import linear
from glow_tf.networks.convolution import check_positions, convolve, kernel_size
from glow_tf.networks.dropout import DropoutNetwork
from glow_tf.networks.gating import GAIN, concat_elu, gate


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedConvolutions(DropoutNetwork):
    """A stack of gated convolutions (Ho et al. 2019, the official code), for features rather than couplings.

    A 3x3 convolution, then blocks of

      h <- h + gate(3x3(drop(celu(3x3(celu(h))))))

    with celu(h) = elu([h, -h]) and gate([a, b]) = a * sigmoid(b). Hidden layers have as many channels as the output,
    which is not zero-initialised. For sequences, the kernels have 3 taps.

    Attributes:
      blocks: number of blocks.
      dropout: see `DropoutNetwork`.

    Ho, Chen, Srinivas, Duan & Abbeel 2019, "Flow++", arXiv 1902.00275.
    """

    blocks: int = 3

    def __post_init__(self):
        super().__post_init__()
        # Each block adds its own ops to the graph.
        at_least("blocks", self.blocks, 1, most=1000)

    def parameters(self, rng, depth, inputs, outputs, shape):
        three = kernel_size(shape, 3)
        network = {"enter": linear(rng, (depth, *three, inputs, outputs))}
        for i in range(self.blocks):
            network[f"block{i}"] = {
                "conv1": linear(rng, (depth, *three, 2 * outputs, outputs)),
                "conv2": linear(rng, (depth, *three, 2 * outputs, 2 * outputs), GAIN),
            }
        return network

    def evaluate(self, tensors, x, context, drop, precision):
        def convolution(layer, h):
            return convolve(h, layer["kernel"], layer["bias"], precision=precision)

        h = convolution(tensors["enter"], x)
        for i in range(self.blocks):
            block = tensors[f"block{i}"]
            inner = drop(concat_elu(convolution(block["conv1"], concat_elu(h))))
            h += gate(convolution(block["conv2"], inner))
        return h

    def check(self, shape):
        check_positions(shape, "has a network of convolutions and ")

    def products(self, shape, batch_size, inputs, outputs):
        def convolution(n_in, n_out):
            return flops.convolution(shape, batch_size, 3, n_in, n_out)

        block = [convolution(2 * outputs, outputs), convolution(2 * outputs, 2 * outputs)]
        return [convolution(inputs, outputs), *block * self.blocks]
