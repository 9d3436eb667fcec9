"""Parametric elementwise bijections, which couplings apply to one part of their input."""

from glow_tf.transforms.additive import Additive
from glow_tf.transforms.affine import Affine
from glow_tf.transforms.affine_exp import AffineExp
from glow_tf.transforms.affine_sigmoid import AffineSigmoid
from glow_tf.transforms.base import Transform
from glow_tf.transforms.mixture_logistic import MixtureLogistic
from glow_tf.transforms.spline import RationalQuadraticSpline

# Keyed by flag value.
NAMED = {
    "additive": Additive(),
    "affine": Affine(),
    "affine_exp": AffineExp(),
    "affine_sigmoid": AffineSigmoid(),
    "mixture_logistic": MixtureLogistic(),
    "spline": RationalQuadraticSpline(),
}

__all__ = [
    "NAMED",
    "Additive",
    "Affine",
    "AffineExp",
    "AffineSigmoid",
    "MixtureLogistic",
    "RationalQuadraticSpline",
    "Transform",
]
