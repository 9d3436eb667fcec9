"""Jet's coupling network."""

import dataclasses
import math

import tensorflow as tf

from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.flops import Product
from glow_tf.networks.attention import (
    AttentionNetwork,
    attention_products,
    attention_width,
    layer_norm,
    layer_norm_parameters,
    self_attention,
)
from glow_tf.networks.dense import dense
from glow_tf.runtime.squeezing import squeeze, unsqueeze

# Hidden units of an MLP, as a multiple of the width.
_EXPANSION = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vit(AttentionNetwork):
    """A vision transformer (Dosovitskiy et al. 2021, section 3.1; Kolesnikov et al. 2024, section 2.1 and its code).

    The input is split into patches, each embedded as a token by a linear layer, plus a learned position embedding;
    blocks of

      h <- h + drop(attention(norm(h)))
      h <- h + drop(MLP(norm(h)))

    whose MLPs have one hidden layer of 4 * width GELU units, also with dropout; layer normalisation; and a
    zero-initialised linear layer from each token to the outputs of its patch.

    Attributes:
      width: channels of a token.
      depth: number of blocks.
      patch_size: side of a patch, or its length in a sequence.
      heads, dropout, num_classes: see `AttentionNetwork`.

    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv 2010.11929; Kolesnikov, Pinto & Tschannen 2024,
    "Jet: A Modern Transformer-Based Normalizing Flow", arXiv 2412.15129.
    """

    depth: int
    patch_size: int = 1

    def __post_init__(self):
        super().__post_init__()
        # Each block adds its own ops to the graph.
        at_least("depth", self.depth, 1, most=1000)
        at_least("patch_size", self.patch_size, 1)

    def check(self, shape):
        super().check(shape)
        if any(side % self.patch_size for side in shape[:-1]):
            raise ValueError(f"has patches of patch_size={self.patch_size} and needs multiples of it; it gets {shape}.")

    def parameters(self, rng, depth, inputs, outputs, shape):
        width, (count, area) = self.width, self._patches(shape)
        inner = attention_width(width, self.heads)
        network = {
            "enter": p.linear(rng, (depth, area * inputs, width)),
            "position": p.normal(rng, 1 / math.sqrt(width), (depth, count, width)),
            **self._label_parameters(depth),
        }
        for i in range(self.depth):
            network[f"block{i}"] = {
                "norm1": layer_norm_parameters(depth, width),
                "attention": p.linear(rng, (depth, width, 3 * inner)),
                "mix": p.linear(rng, (depth, inner, width)),
                "norm2": layer_norm_parameters(depth, width),
                # Glorot variances, as in the authors' code.
                "mlp1": p.linear(rng, (depth, width, _EXPANSION * width), math.sqrt(2 / (1 + _EXPANSION))),
                "mlp2": p.linear(rng, (depth, _EXPANSION * width, width), math.sqrt(2 * _EXPANSION / (1 + _EXPANSION))),
            }
        network["norm"] = layer_norm_parameters(depth, width)
        return {**network, "leave": p.zero_linear(depth, width, area * outputs)}

    def evaluate(self, tensors, x, context, drop, precision):
        patches = squeeze(x, self.patch_size, "position_major")
        *counts, channels = patches.shape[1:]
        tokens = tf.reshape(patches, [-1, math.prod(counts), channels])
        h = dense(tensors["enter"], tokens, precision) + tensors["position"]
        h = self._labelled(tensors, h, context)
        for i in range(self.depth):
            block = tensors[f"block{i}"]
            attended = self_attention(block["attention"], layer_norm(block["norm1"], h), self.heads, precision)
            h += drop(dense(block["mix"], attended, precision))
            hidden = tf.nn.gelu(dense(block["mlp1"], layer_norm(block["norm2"], h), precision), approximate=True)
            h += drop(dense(block["mlp2"], drop(hidden), precision))
        h = dense(tensors["leave"], layer_norm(tensors["norm"], h), precision)
        return unsqueeze(tf.reshape(h, [-1, *counts, h.shape[-1]]), self.patch_size, "position_major")

    def products(self, shape, batch_size, inputs, outputs):
        width, (count, area) = self.width, self._patches(shape)
        tokens, inner = batch_size * count, attention_width(width, self.heads)
        block = [
            Product(tokens, width, 3 * inner),
            *attention_products(batch_size, count, width, self.heads),
            Product(tokens, inner, width),
            Product(tokens, width, _EXPANSION * width),
            Product(tokens, _EXPANSION * width, width),
        ]
        return [Product(tokens, area * inputs, width), *block * self.depth, Product(tokens, width, area * outputs)]

    def _patches(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the number of patches and the number of positions in each."""
        area = self.patch_size ** (len(shape) - 1)
        return math.prod(shape[:-1]) // area, area
