"""Flow++'s coupling network."""

import dataclasses
import math

import tensorflow as tf

from glow_tf import flops
from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.networks.attention import Attentive, layer_norm, layer_norm_parameters, linear, zero_linear
from glow_tf.networks.convolution import convolve, kernel_size
from glow_tf.networks.dense import dense

_POSITION_STDDEV = 0.01
# Of what enters a gate at first: each block begins near the identity.
_GATE_GAIN = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedAttention(Attentive):
    """A stack of gated convolutions and gated self-attentions (Ho et al. 2019, section 3.3 and the official code).

    A 3x3 convolution; blocks of

      h <- norm(h + gate(1x1(drop(celu(3x3(celu(h)))))))
      h <- norm(h + gate(1x1(drop(attention(h + position)))))

    and a 3x3 convolution that starts at zero, with celu(h) = elu([h, -h]), gate([a, b]) = a * sigmoid(b), layer
    normalisation over the channels, and one learned embedding of the positions for all blocks. Of sequences, kernels
    have 3 taps and 1.

    The official code scales every layer by the data first; here the variances of kernels keep those of activations.

    Attributes:
      width: hidden channels.
      blocks: number of blocks.
      heads, dropout, num_classes: as for every network with attention.

    Ho, Chen, Srinivas, Duan & Abbeel 2019, "Flow++", arXiv 1902.00275.
    """

    blocks: int = 10
    dropout: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        # Each is a layer of its own in the graph.
        at_least("blocks", self.blocks, 1, most=1000)

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
                "conv2": linear(rng, (depth, 2 * width, 2 * width), _GATE_GAIN),
                "norm1": layer_norm_parameters(depth, width),
                "attention": linear(rng, (depth, width, 3 * self._attention_width)),
                "mix": linear(rng, (depth, self._attention_width, 2 * width), _GATE_GAIN),
                "norm2": layer_norm_parameters(depth, width),
            }
        return {**network, "leave": zero_linear(depth, *three, width, outputs)}

    def evaluate(self, tensors, x, context, drop, precision):
        def convolution(layer, h):
            return convolve(h, layer["kernel"], layer["bias"], precision=precision)

        h = self._labelled(tensors, convolution(tensors["enter"], x), context)
        for i in range(self.blocks):
            block = tensors[f"block{i}"]
            inner = drop(_concat_elu(convolution(block["conv1"], _concat_elu(h))))
            h = layer_norm(block["norm1"], h + _gate(dense(block["conv2"], inner, precision)))
            inner = drop(self._attention(block["attention"], h + tensors["position"], precision))
            h = layer_norm(block["norm2"], h + _gate(dense(block["mix"], inner, precision)))
        return convolution(tensors["leave"], h)

    def products(self, shape, batch_size, inputs, outputs):
        def convolution(size, n_in, n_out):
            return flops.convolution(shape, batch_size, size, n_in, n_out)

        width = self.width
        block = [
            convolution(3, 2 * width, width),
            convolution(1, 2 * width, 2 * width),
            convolution(1, width, 3 * self._attention_width),
            *self._attention_products(batch_size, math.prod(shape[:-1])),
            convolution(1, self._attention_width, 2 * width),
        ]
        return [convolution(3, inputs, width), *block * self.blocks, convolution(3, width, outputs)]


def _concat_elu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.elu(tf.concat([x, -x], axis=-1))


def _gate(x: tf.Tensor) -> tf.Tensor:
    a, b = tf.split(x, 2, axis=-1)
    return a * tf.sigmoid(b)
