"""NICE's coupling network."""

import dataclasses

import numpy as np
import tensorflow as tf

from glow_tf import parameters as p
from glow_tf.arguments import at_least
from glow_tf.networks.base import ActnormNetwork
from glow_tf.networks.dense import dense


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mlp(ActnormNetwork):
    """A deep ReLU network over the last axis, for flat vectors (Dinh et al. 2015, section 5.1).

    Its last layer is zero-initialised.

    Attributes:
      width: units of each hidden layer.
      blocks: number of hidden layers.
    """

    blocks: int = 2

    def __post_init__(self):
        super().__post_init__()
        # Each layer adds its own ops to the graph.
        at_least("blocks", self.blocks, 1, most=1000)

    def parameters(self, rng, depth, inputs, outputs, shape):
        sizes = [inputs] + [self.width] * self.blocks
        network = {
            f"dense{i}": p.linear(rng, (depth, n_in, n_out), np.sqrt(2))
            for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        }
        return {**network, "leave": p.zero_linear(depth, self.width, outputs)}

    @property
    def is_initialized_from_data(self):
        return False

    def evaluate(self, tensors, x, context, normalize, precision):
        for i in range(self.blocks):
            x = tf.nn.relu(dense(tensors[f"dense{i}"], x, precision))
        return dense(tensors["leave"], x, precision)
