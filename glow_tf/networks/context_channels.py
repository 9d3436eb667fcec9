"""Conditioning of networks on channels of the context."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.description import check
from glow_tf.networks.base import Network


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextChannels(Network):
    """A network whose input channels are extended by those of a context tensor with the same positions.

    In the couplings of a `Variational` dequantizer, `image` is the image that is dequantized: there, use another key.

    Attributes:
      inner: the network, which also receives the context itself.
      channels: number of channels of {key: [B, ..., channels]} in the context; 0 for none.
      key: the tensor's name in the context.
    """

    inner: Network
    channels: int = 0
    key: str = "image"

    def __post_init__(self):
        check("inner", self.inner, Network)
        at_least("channels", self.channels, 0)

    @property
    def is_random(self):
        return self.inner.is_random

    @property
    def parameters_per_dim(self):
        return self.inner.parameters_per_dim

    def parameters(self, rng, depth, inputs, outputs, shape):
        return self.inner.parameters(rng, depth, inputs + self.channels, outputs, shape)

    def prepare(self, tensors):
        return self.inner.prepare(tensors)

    def apply(self, tensors, x, context=None, training=False, seed=None):
        return self.inner.apply(tensors, self._joined(x, context), context, training, seed)

    def apply_in(self, mode, tensors, x, context=None):
        return self.inner.apply_in(mode, tensors, self._joined(x, context), context)

    @property
    def is_initialized_from_data(self):
        return self.inner.is_initialized_from_data

    def initialize(self, tensors, x, context=None):
        return self.inner.initialize(tensors, self._joined(x, context), context)

    def check(self, shape):
        self.inner.check(shape)

    def decays(self, path, shape):
        return self.inner.decays(path, shape)

    def num_classes_needed(self):
        return self.inner.num_classes_needed()

    def hidden_channels(self):
        return self.inner.hidden_channels()

    def products(self, shape, batch_size, inputs, outputs):
        return self.inner.products(shape, batch_size, inputs + self.channels, outputs)

    def _joined(self, x: tf.Tensor, context) -> tf.Tensor:
        if not self.channels:
            return x
        return tf.concat([x, of_context(context, self.key, x, self.channels)], axis=-1)


def of_context(context: Any, key: str, x: tf.Tensor, channels: int) -> tf.Tensor:
    """Returns a tensor of the context, [B, ..., channels], at the positions of `x`: [B, ..., C] and in its dtype.

    Raises:
      ValueError: if it is missing or has another shape.
    """
    if not isinstance(context, Mapping) or key not in context:
        raise ValueError(f"{key!r}, which conditions the coupling networks, is missing in the context.")
    expected = [*x.shape[1:-1], channels]
    if context[key].shape[1:] != expected:
        raise ValueError(
            f"{key!r} in the context must have shape [B, {', '.join(map(str, expected))}], as the coupling networks "
            f"see it; this one has {tuple(context[key].shape)}."
        )
    return tf.cast(context[key], x.dtype)
