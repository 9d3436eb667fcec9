"""Flow++'s coupling network."""

import dataclasses
from typing import ClassVar

import numpy as np

from glow_tf import flops
from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.networks.attention import AttentionNetwork, layer_norm, layer_norm_parameters
from glow_tf.networks.context_channels import of_context
from glow_tf.networks.convolution import convolve, kernel_size
from glow_tf.networks.dense import dense
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
class GatedAttention(AttentionNetwork):
    """A stack of gated convolutions and gated self-attention (Ho et al. 2019, section 3.3 and the official code).

    A 3x3 convolution; blocks of

      h <- norm(h + gate(1x1(drop(celu(3x3(celu(h)))))))
      h <- norm(h + gate(1x1(drop(attention(h + position)))))

    and a zero-initialised 3x3 convolution, with celu(h) = elu([h, -h]), gate([a, b]) = a * sigmoid(b), layer
    normalisation over the channels, and one learned position embedding shared by all blocks. For sequences, the kernels
    have 3 and 1 taps.

    The official code uses data-dependent initialisation of every layer; here, kernels are drawn with variances that
    preserve those of the activations.

    Attributes:
      width: hidden channels.
      blocks: number of blocks.
      heads: number of attention heads, see `AttentionNetwork`; 0 for blocks without the attention.
      final_elu: whether the last convolution sees celu(h) rather than h, as in the official code for ImageNet.
      dropout, num_classes: see `AttentionNetwork`.
      image_channels: channels of {"image": [B, ..., image_channels]} in the context, at the positions of the input;
        0 for none. They condition each gated convolution: celu(3x3(celu(h)) + 1x1(celu(image))).

    Ho, Chen, Srinivas, Duan & Abbeel 2019, "Flow++", arXiv 1902.00275.
    """

    min_heads: ClassVar[int] = 0

    blocks: int = 10
    final_elu: bool = False
    dropout: float = 0.2
    image_channels: int = 0

    def __post_init__(self):
        super().__post_init__()
        # Each block adds its own ops to the graph.
        at_least("blocks", self.blocks, 1, most=1000)
        at_least("image_channels", self.image_channels, 0)

    def parameters(self, rng, depth, inputs, outputs, shape):
        width, three = self.width, kernel_size(shape, 3)
        network = {
            "enter": p.linear(rng, (depth, *three, inputs, width)),
            **({"position": position_embedding(rng, depth, shape[:-1], width)} if self.heads else {}),
            **self._label_parameters(depth),
        }
        for i in range(self.blocks):
            network[f"block{i}"] = {
                "conv1": p.linear(rng, (depth, *three, 2 * width, width)),
                "conv2": p.linear(rng, (depth, 2 * width, 2 * width), GAIN),
                **self._context_parameters(rng, depth),
                "norm1": layer_norm_parameters(depth, width),
            }
            if self.heads:
                network[f"block{i}"] |= {
                    **gated_attention_parameters(rng, depth, width, self.heads),
                    "norm2": layer_norm_parameters(depth, width),
                }
        return {**network, "leave": p.zero_linear(depth, *three, self._last_inputs, outputs)}

    def evaluate(self, tensors, x, context, drop, precision):
        def convolution(layer, h):
            return convolve(h, layer["kernel"], layer["bias"], precision=precision)

        h = self._labelled(tensors, convolution(tensors["enter"], x), context)
        if self.image_channels:
            image = concat_elu(of_context(context, "image", x, self.image_channels))
        for i in range(self.blocks):
            block = tensors[f"block{i}"]
            inner = convolution(block["conv1"], concat_elu(h))
            if self.image_channels:
                inner += dense(block["context"], image, precision)
            inner = drop(concat_elu(inner))
            h = layer_norm(block["norm1"], h + gate(dense(block["conv2"], inner, precision)))
            if self.heads:
                attended = gated_attention(block, h, tensors["position"], self.heads, drop, precision)
                h = layer_norm(block["norm2"], h + attended)
        return convolution(tensors["leave"], concat_elu(h) if self.final_elu else h)

    def products(self, shape, batch_size, inputs, outputs):
        def convolution(size, n_in, n_out):
            return flops.convolution(shape, batch_size, size, n_in, n_out)

        width = self.width
        block = [
            convolution(3, 2 * width, width),
            *([convolution(1, 2 * self.image_channels, width)] if self.image_channels else []),
            convolution(1, 2 * width, 2 * width),
            *(gated_attention_products(shape, batch_size, width, self.heads) if self.heads else []),
        ]
        last = convolution(3, self._last_inputs, outputs)
        return [convolution(3, inputs, width), *block * self.blocks, last]

    @property
    def _last_inputs(self) -> int:
        return 2 * self.width if self.final_elu else self.width

    def _context_parameters(self, rng: np.random.Generator, depth: int) -> p.Nest:
        if not self.image_channels:
            return {}
        return {"context": p.linear(rng, (depth, 2 * self.image_channels, self.width))}
