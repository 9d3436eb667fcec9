"""Dequantizers: from discrete images to the real numbers that a flow has a density over, and back."""

from glow_tf.dequantization.base import Dequantizer
from glow_tf.dequantization.continuous import Continuous
from glow_tf.dequantization.uniform import Uniform
from glow_tf.dequantization.variational import Variational

# By the names of flags.
NAMED = {"uniform": Uniform, "variational": Variational}

__all__ = ["NAMED", "Continuous", "Dequantizer", "Uniform", "Variational"]
