"""Flow++'s coupling network."""

import dataclasses
import math

import numpy as np

from glow_tf import flops
from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.networks.attention import Attentive, layer_norm, layer_norm_parameters, linear, zero_linear
from glow_tf.networks.context_channels import of_context
from glow_tf.networks.convolution import convolve, kernel_size
from glow_tf.networks.dense import dense
from glow_tf.networks.gating import GAIN, concat_elu, gate

_POSITION_STDDEV = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedAttention(Attentive):
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
      heads, dropout, num_classes: see `Attentive`.
      image_channels: channels of {"image": [B, ..., image_channels]} in the context, at the positions of the input;
        0 for none. They condition each gated convolution: celu(3x3(celu(h)) + 1x1(celu(image))).

    Ho, Chen, Srinivas, Duan & Abbeel 2019, "Flow++", arXiv 1902.00275.
    """

    blocks: int = 10
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
            "enter": linear(rng, (depth, *three, inputs, width)),
            "position": p.normal(rng, _POSITION_STDDEV, (depth, *shape[:-1], width)),
            **self._label_parameters(depth),
        }
        for i in range(self.blocks):
            network[f"block{i}"] = {
                "conv1": linear(rng, (depth, *three, 2 * width, width)),
                "conv2": linear(rng, (depth, 2 * width, 2 * width), GAIN),
                **self._context_parameters(rng, depth),
                "norm1": layer_norm_parameters(depth, width),
                "attention": linear(rng, (depth, width, 3 * self._attention_width)),
                "mix": linear(rng, (depth, self._attention_width, 2 * width), GAIN),
                "norm2": layer_norm_parameters(depth, width),
            }
        return {**network, "leave": zero_linear(depth, *three, width, outputs)}

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
            inner = drop(self._attention(block["attention"], h + tensors["position"], precision))
            h = layer_norm(block["norm2"], h + gate(dense(block["mix"], inner, precision)))
        return convolution(tensors["leave"], h)

    def products(self, shape, batch_size, inputs, outputs):
        def convolution(size, n_in, n_out):
            return flops.convolution(shape, batch_size, size, n_in, n_out)

        width = self.width
        block = [
            convolution(3, 2 * width, width),
            *([convolution(1, 2 * self.image_channels, width)] if self.image_channels else []),
            convolution(1, 2 * width, 2 * width),
            convolution(1, width, 3 * self._attention_width),
            *self._attention_products(batch_size, math.prod(shape[:-1])),
            convolution(1, self._attention_width, 2 * width),
        ]
        return [convolution(3, inputs, width), *block * self.blocks, convolution(3, width, outputs)]

    def _context_parameters(self, rng: np.random.Generator, depth: int) -> p.Nest:
        if not self.image_channels:
            return {}
        return {"context": linear(rng, (depth, 2 * self.image_channels, self.width))}
