"""NICE's coupling network."""

import dataclasses

import numpy as np
import tensorflow as tf

from glow_tf import parameters as p
from glow_tf.networks.base import BuiltIn
from glow_tf.networks.dense import dense


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mlp(BuiltIn):
    """A deep ReLU network over the last axis, for flat vectors (Dinh et al. 2015, section 5.1).

    Its last layer is zero-initialised.

    Attributes:
      width: units of each hidden layer.
      blocks: number of hidden layers.
    """

    blocks: int = 2

    def parameters(self, rng, depth, inputs, outputs, shape):
        sizes = [inputs] + [self.width] * self.blocks
        network = {
            f"dense{i}": {
                "kernel": p.normal(rng, np.sqrt(2 / n_in), (depth, n_in, n_out)),
                "bias": p.zeros(depth, n_out),
            }
            for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        }
        network["leave"] = {"kernel": p.zeros(depth, self.width, outputs), "bias": p.zeros(depth, outputs)}
        return network

    def evaluate(self, tensors, x, context, normalize, precision):
        for i in range(self.blocks):
            x = tf.nn.relu(dense(tensors[f"dense{i}"], x, precision))
        return dense(tensors["leave"], x, precision)
