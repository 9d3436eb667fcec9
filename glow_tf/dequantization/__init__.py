"""Dequantizers, which map discrete images to the continuous values that a flow models, and back."""

from glow_tf.dequantization.base import Dequantizer
from glow_tf.dequantization.continuous import Continuous
from glow_tf.dequantization.uniform import Uniform
from glow_tf.dequantization.variational import Variational

# Keyed by flag value.
NAMED = {"uniform": Uniform, "variational": Variational}

__all__ = ["NAMED", "Continuous", "Dequantizer", "Uniform", "Variational"]
