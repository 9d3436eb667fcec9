"""Flow layers as TFP bijectors, from image to latent. Each can be used on its own in TFP code."""

from glow_tf.bijectors.actnorm import ActNorm
from glow_tf.bijectors.base import Adapter, Bijector
from glow_tf.bijectors.coupling import Coupling
from glow_tf.bijectors.invertible_conv import InvertibleConv1x1
from glow_tf.bijectors.logit import Logit
from glow_tf.bijectors.multiscale import MultiScale
from glow_tf.bijectors.permutation import Permutation
from glow_tf.bijectors.prior import DiagonalPrior
from glow_tf.bijectors.split import Split
from glow_tf.bijectors.squeeze import Squeeze
from glow_tf.bijectors.stacked import Stack
from glow_tf.bijectors.step import FlowStep

__all__ = [
    "ActNorm",
    "Adapter",
    "Bijector",
    "Coupling",
    "DiagonalPrior",
    "FlowStep",
    "InvertibleConv1x1",
    "Logit",
    "MultiScale",
    "Permutation",
    "Split",
    "Squeeze",
    "Stack",
]
