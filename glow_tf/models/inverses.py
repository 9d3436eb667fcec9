"""Inverses of 1x1 convolutions that are computed once, and again when the weights change."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from glow_tf.config import Steps
from glow_tf.models import layers
from glow_tf.models.flow import Flow


class InverseCache(tf.Module):
    """The inverses of a flow's 1x1 convolutions, kept beside the weights they belong to.

    They take two triangular solves of C x C matrices a step, which a loop of calls with the same weights can spare.
    Each use compares the weights with those that the inverses were made of, and computes them anew where something, an
    optimizer or a checkpoint, has changed them.

    Args:
      flow: the model.
    """

    def __init__(self, flow: Flow):
        super().__init__(name="inverses")
        self._flow = flow
        self._cached = {
            layers.layer_name(i, layer): _Cached(layer, parameters)
            for i, (layer, _, parameters) in enumerate(flow.iter_layers())
            if layers.has_conv1x1(layer)
        }

    def __call__(self) -> dict[int, tf.Tensor]:
        """The inverses [K, C, C] by the number of their layer in the flow: what `Flow.bijector` takes."""
        found = {}
        for i, (layer, _, parameters) in enumerate(self._flow.iter_layers()):
            cached = self._cached.get(layers.layer_name(i, layer))
            if cached is not None:
                found[i] = cached(layer, parameters)
        return found


class _Cached(tf.Module):
    """The inverses of one layer, and a copy of the weights they were made of."""

    def __init__(self, layer: Steps, parameters: Mapping[str, Any]):
        super().__init__()
        weights = {name: v for name, v in parameters["conv1x1"].items() if v.trainable}
        self.cached_weights = {
            name: tf.Variable(v, trainable=False, name=f"cached_weights/{name}") for name, v in weights.items()
        }
        self.inverse = tf.Variable(layers.conv1x1_matrices(layer, parameters)[1], trainable=False, name="inverse")

    def __call__(self, layer: Steps, parameters: Mapping[str, Any]) -> tf.Tensor:
        present = {name: tf.convert_to_tensor(parameters["conv1x1"][name]) for name in self.cached_weights}
        same = tf.reduce_all([tf.reduce_all(value == self.cached_weights[name]) for name, value in present.items()])

        def compute():
            _, inverse, _ = layers.conv1x1_matrices(layer, parameters)
            # The copy comes last: who finds it equal to the weights finds their inverses, also while this goes on.
            with tf.control_dependencies([self.inverse.assign(inverse)]):
                copies = [self.cached_weights[name].assign(value) for name, value in present.items()]
            with tf.control_dependencies(copies):
                return tf.identity(inverse)

        return tf.stop_gradient(tf.cond(same, lambda: tf.identity(self.inverse), compute))
