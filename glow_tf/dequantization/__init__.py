"""Dequantizers: from discrete images to the real numbers that a flow has a density over, and back."""

from glow_tf.dequantization.base import Dequantizer
from glow_tf.dequantization.continuous import Continuous
from glow_tf.dequantization.uniform import Uniform

__all__ = ["Continuous", "Dequantizer", "Uniform"]
