"""The network that conditions Flow++'s dequantization on the image."""

import dataclasses

from glow_tf import flops
from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.networks.attention import layer_norm, layer_norm_parameters
from glow_tf.networks.convolution import check_positions, convolve, kernel_size
from glow_tf.networks.dropout import DropoutNetwork
from glow_tf.networks.gating import (
    GAIN,
    concat_elu,
    gate,
    gated_attention,
    gated_attention_parameters,
    gated_attention_products,
    position_embedding,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedConvolutions(DropoutNetwork):
    """A stack of gated convolutions (Ho et al. 2019, the official code), for features rather than couplings.

    A 3x3 convolution, then blocks of

      h <- h + gate(3x3(drop(celu(3x3(celu(h))))))

    with celu(h) = elu([h, -h]) and gate([a, b]) = a * sigmoid(b). Hidden layers have as many channels as the output,
    which is not zero-initialised. For sequences, the kernels have 3 taps. In the official code for ImageNet, blocks are
    `normalized`, and those for 32x32 pixels also have attention, as in `GatedAttention`.

    Attributes:
      blocks: number of blocks.
      normalized: whether each sum is layer-normalised over the channels.
      heads: number of heads of a gated self-attention after each gated convolution; 0 for none.
      dropout: see `DropoutNetwork`.

    Ho, Chen, Srinivas, Duan & Abbeel 2019, "Flow++", arXiv 1902.00275.
    """

    blocks: int = 3
    normalized: bool = False
    heads: int = 0

    def __post_init__(self):
        super().__post_init__()
        # Each block adds its own ops to the graph.
        at_least("blocks", self.blocks, 1, most=1000)
        at_least("heads", self.heads, 0)

    def parameters(self, rng, depth, inputs, outputs, shape):
        three = kernel_size(shape, 3)
        network = {"enter": p.linear(rng, (depth, *three, inputs, outputs))}
        if self.heads:
            network["position"] = position_embedding(rng, depth, shape[:-1], outputs)
        for i in range(self.blocks):
            network[f"block{i}"] = block = {
                "conv1": p.linear(rng, (depth, *three, 2 * outputs, outputs)),
                "conv2": p.linear(rng, (depth, *three, 2 * outputs, 2 * outputs), GAIN),
            }
            if self.heads:
                block |= gated_attention_parameters(rng, depth, outputs, self.heads)
            if self.normalized:
                norms = ("norm1", "norm2") if self.heads else ("norm1",)
                block |= {norm: layer_norm_parameters(depth, outputs) for norm in norms}
        return network

    def evaluate(self, tensors, x, context, drop, precision):
        def convolution(layer, h):
            return convolve(h, layer["kernel"], layer["bias"], precision=precision)

        def norm(block, name, h):
            return layer_norm(block[name], h) if self.normalized else h

        h = convolution(tensors["enter"], x)
        for i in range(self.blocks):
            block = tensors[f"block{i}"]
            inner = drop(concat_elu(convolution(block["conv1"], concat_elu(h))))
            h = norm(block, "norm1", h + gate(convolution(block["conv2"], inner)))
            if self.heads:
                attended = gated_attention(block, h, tensors["position"], self.heads, drop, precision)
                h = norm(block, "norm2", h + attended)
        return h

    def check(self, shape):
        check_positions(shape, "has a network of convolutions and ")

    def products(self, shape, batch_size, inputs, outputs):
        def convolution(n_in, n_out):
            return flops.convolution(shape, batch_size, 3, n_in, n_out)

        block = [convolution(2 * outputs, outputs), convolution(2 * outputs, 2 * outputs)]
        if self.heads:
            block += gated_attention_products(shape, batch_size, outputs, self.heads)
        return [convolution(inputs, outputs), *block * self.blocks]
