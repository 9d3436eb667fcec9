"""Self-attention over positions, and the base class of networks that use it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.flops import Product
from glow_tf.networks.convolution import check_positions
from glow_tf.networks.dense import dense
from glow_tf.networks.dropout import DropoutNetwork
from glow_tf.networks.labels import of_labels
from glow_tf.runtime import products

# Added to the variance in layer normalisation.
_EPSILON = 1e-6


def layer_norm_parameters(depth: int, channels: int) -> p.Nest:
    """Returns the parameters of `depth` layer normalisations: scales of one and biases of zero."""
    return {"scale": p.ones(depth, channels), "bias": p.zeros(depth, channels)}


def layer_norm(layer: Mapping[str, tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Applies layer normalisation over the channels of `x`: [..., C] (Ba, Kiros & Hinton 2016, arXiv 1607.06450).

    The mean and variance are computed in float32 or wider.
    """
    wide = _at_least_float32(x)
    mean = tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axis=-1, keepdims=True)
    normalized = (wide - mean) * tf.math.rsqrt(variance + _EPSILON)
    return tf.cast(normalized, x.dtype) * layer["scale"] + layer["bias"]


def dot_product_attention(queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, precision: str) -> tf.Tensor:
    """Computes softmax(q k^T / sqrt(C)) v (Vaswani et al. 2017, equation 1), with the softmax in float32 or wider.

    Args:
      queries, keys, values: [..., T, C] each.
      precision: precision of the products, see `glow_tf.runtime.products`.

    Returns:
      [..., T, C].
    """
    queries *= queries.shape[-1] ** -0.5
    logits = products.matmul(queries, keys, precision, transpose_b=True)
    weights = tf.cast(tf.nn.softmax(_at_least_float32(logits)), values.dtype)
    return products.matmul(weights, values, precision)


def attention_width(width: int, heads: int) -> int:
    """Returns the channels of all heads together, of which each has ceil(width / heads)."""
    return heads * -(-width // heads)


def self_attention(layer: Mapping[str, tf.Tensor], h: tf.Tensor, heads: int, precision: str) -> tf.Tensor:
    """Applies multi-head self-attention over all positions.

    Args:
      layer: projection to the queries, keys and values of all heads, in this order.
      h: [B, ..., width].
      heads: number of heads.
      precision: precision of the products, see `glow_tf.runtime.products`.

    Returns:
      The concatenated heads, [B, ..., attention_width(width, heads)].
    """
    *positions, channels = h.shape[1:]
    count, inner = math.prod(positions), attention_width(channels, heads)
    projected = dense(layer, tf.reshape(h, [-1, count, channels]), precision)
    qkv = tf.transpose(tf.reshape(projected, [-1, count, 3, heads, inner // heads]), [2, 0, 3, 1, 4])
    attended = dot_product_attention(*tf.unstack(qkv), precision)
    return tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, *positions, inner])


def attention_products(batch_size: int, count: int, width: int, heads: int) -> list[Product]:
    """Returns the matrix products of attention over `count` positions: the logits, and the means of the values."""
    size = attention_width(width, heads) // heads
    rows = batch_size * heads * count
    return [Product(rows, size, count), Product(rows, count, size)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionNetwork(DropoutNetwork, abstract=True):
    """Base class of this package's networks with self-attention over all positions.

    Subclasses define `evaluate`.

    Attributes:
      width: hidden channels.
      heads: number of attention heads, at least `min_heads`, of ceil(width / heads) channels each.
      dropout: see `DropoutNetwork`.
      num_classes: number of label classes, for {"labels": [B] int32} in the context; 0 for none. Each class has a
        learned embedding, initially zero, that is added to the output of the first layer.
    """

    min_heads: ClassVar[int] = 1

    width: int
    heads: int = 4
    num_classes: int = 0

    def __post_init__(self):
        super().__post_init__()
        at_least("width", self.width, 1)
        at_least("heads", self.heads, self.min_heads)
        at_least("num_classes", self.num_classes, 0)

    def check(self, shape):
        check_positions(shape, "has a network with attention over positions and ")

    def num_classes_needed(self):
        return self.num_classes

    def hidden_channels(self):
        return self.width

    def _label_parameters(self, depth: int) -> p.Nest:
        return {"label": {"kernel": p.zeros(depth, self.num_classes, self.width)}} if self.num_classes else {}

    def _labelled(self, tensors: p.Nest, h: tf.Tensor, context: Any) -> tf.Tensor:
        """Returns `h`: [B, ..., width] plus the label embeddings, if there are any."""
        return h + of_labels(tensors["label"]["kernel"], context, h) if self.num_classes else h


def _at_least_float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype.size < tf.float32.size else x
