"""Elementwise invertible maps with parameters, which couplings apply to one part of their input."""

from glow_tf.transforms.additive import Additive
from glow_tf.transforms.affine import Affine
from glow_tf.transforms.affine_exp import AffineExp
from glow_tf.transforms.affine_sigmoid import AffineSigmoid
from glow_tf.transforms.base import Transform

# By the names of flags.
NAMED = {"additive": Additive(), "affine": Affine(), "affine_exp": AffineExp(), "affine_sigmoid": AffineSigmoid()}

__all__ = ["NAMED", "Additive", "Affine", "AffineExp", "AffineSigmoid", "Transform"]
