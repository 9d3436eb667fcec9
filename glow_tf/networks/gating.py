"""Gated units of Flow++'s networks (Ho et al. 2019, section 3.3, and the official code)."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf import flops
from glow_tf import parameters as p
from glow_tf.networks.attention import attention_products, attention_width, self_attention
from glow_tf.networks.dense import dense

# Gain of the layer before a gate, so that the gate adds little at initialisation.
GAIN = 0.1
_POSITION_STDDEV = 0.01


def concat_elu(x: tf.Tensor) -> tf.Tensor:
    """Returns elu([x, -x]): [..., 2C] for `x`: [..., C]."""
    return tf.nn.elu(tf.concat([x, -x], axis=-1))


def gate(x: tf.Tensor) -> tf.Tensor:
    """Returns a * sigmoid(b): [..., C] for x = [a, b]: [..., 2C]."""
    a, b = tf.split(x, 2, axis=-1)
    return a * tf.sigmoid(b)


def position_embedding(rng: np.random.Generator, depth: int, positions: tuple[int, ...], width: int) -> p.Parameter:
    """Returns the embedding of each position that all attentions of a network share: [depth, *positions, width]."""
    return p.normal(rng, _POSITION_STDDEV, (depth, *positions, width))


def gated_attention_parameters(rng: np.random.Generator, depth: int, width: int, heads: int) -> p.Nest:
    """Returns the parameters of `gated_attention`."""
    inner = attention_width(width, heads)
    return {
        "attention": p.linear(rng, (depth, width, 3 * inner)),
        "mix": p.linear(rng, (depth, inner, 2 * width), GAIN),
    }


def gated_attention(
    block: Mapping[str, Mapping[str, tf.Tensor]],
    h: tf.Tensor,
    position: tf.Tensor,
    heads: int,
    drop: Callable[[tf.Tensor], tf.Tensor],
    precision: str,
) -> tf.Tensor:
    """Returns gate(1x1(drop(attention(h + position)))): [B, ..., width].

    Args:
      block: parameters, see `gated_attention_parameters`.
      h: [B, ..., width].
      position: embedding of each position, [..., width].
      heads: number of attention heads.
      drop: dropout.
      precision: precision of the products, see `glow_tf.runtime.products`.
    """
    inner = drop(self_attention(block["attention"], h + position, heads, precision))
    return gate(dense(block["mix"], inner, precision))


def gated_attention_products(shape: tuple[int, ...], batch_size: int, width: int, heads: int) -> list[flops.Product]:
    """Returns the matrix products of `gated_attention` at the positions of `shape`: [..., C]."""
    inner, count = attention_width(width, heads), math.prod(shape[:-1])
    return [
        flops.convolution(shape, batch_size, 1, width, 3 * inner),
        *attention_products(batch_size, count, width, heads),
        flops.convolution(shape, batch_size, 1, inner, 2 * width),
    ]
