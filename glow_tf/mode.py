"""Computation mode of a flow: gradient, precision, training. This module does not import TensorFlow."""

import dataclasses
from typing import TYPE_CHECKING

from glow_tf.arguments import one_of

if TYPE_CHECKING:
    import tensorflow as tf

GRADIENTS = ("reversible", "stored")
NETWORK_PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mode:
    """Computation mode of a flow.

    Attributes:
      gradient: differentiation of a stack of steps: `reversible`, `stored` or `none`, see `bijectors.Stack`.
      network_precision: precision of the coupling networks, see `Flow.distribution`.
      training: whether the flow is being trained, for networks with dropout and the like.
      seed: [2] int32, the stateless seed of their random numbers; None if they draw none.
    """

    gradient: str = "reversible"
    network_precision: str = "float32"
    training: bool = False
    seed: "tf.Tensor | None" = None

    def __post_init__(self):
        one_of("gradient", self.gradient, (*GRADIENTS, "none"))
        one_of("network_precision", self.network_precision, NETWORK_PRECISIONS)
