"""Prior of the variables that remain at the top level."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from glow_tf import bijectors, official
from glow_tf.arguments import at_least
from glow_tf.layers.base import Layer
from glow_tf.networks import zero_layer
from glow_tf.networks.convolution import at_every_position, border_response, check_positions, kernel_size
from glow_tf.runtime import products


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopPrior(Layer):
    """Whitens by a diagonal Gaussian that is learned, class-conditional, or both (the official code).

    Attributes:
      learned: whether mean and scale have a learned term that is shared by all labels.
      num_classes: number of classes of the labels that mean and scale depend on, {"labels": [n] int32} in the context;
        0 for none.
    """

    is_prior: ClassVar[bool] = True

    learned: bool = True
    num_classes: int = 0

    def __post_init__(self):
        at_least("num_classes", self.num_classes, 0)
        if not (self.learned or self.num_classes):
            raise ValueError("A TopPrior is learned, conditional (num_classes) or both; for N(0, 1) leave it out.")

    @classmethod
    def upgrade(cls, fields, model):
        # Version 0.1.0 stored the number of labels only in the model.
        conditional = fields.pop("conditional", False)
        if not isinstance(conditional, bool):
            raise ValueError(f"conditional={conditional!r} must be of type bool.")
        return {**fields, "num_classes": model.get("num_classes", 0)} if conditional else fields

    def output_shape(self, shape):
        check_positions(shape)
        return shape

    def parameters(self, shape, rng):
        outputs = 2 * shape[-1]
        # The official prior convolves a map of zeros, so that it sees only the border indicator.
        border = {"border": zero_layer.parameters(*kernel_size(shape, 3), 1, outputs)} if self.learned else {}
        label = {"label": zero_layer.parameters(self.num_classes, outputs)} if self.num_classes else {}
        return border | label

    def bijector(self, shape, tensors, context=None):
        *sides, channels = shape
        h = tf.zeros([1, *sides, 2 * channels], tf.nest.flatten(tensors)[0].dtype)
        if self.learned:
            layer = tensors["border"]
            h += zero_layer.scale(layer, border_response(layer["kernel"], *sides))
        if self.num_classes:
            layer = tensors["label"]
            one_hot = tf.one_hot(context["labels"], self.num_classes, dtype=h.dtype)
            label_term = zero_layer.scale(layer, products.matmul(one_hot, layer["kernel"]))
            h += at_every_position(label_term, h.shape.rank)
        return bijectors.DiagonalPrior(*tf.split(h, 2, axis=-1))

    @property
    def is_initialized_from_data(self):
        return False

    def initialize(self, shape, tensors, x, context=None):
        # It starts as the identity for every label.
        return {}, x

    def num_classes_needed(self):
        return self.num_classes

    def official_variables(self, shape, level):
        found = {}
        if self.learned:
            # The official kernel also covers input channels that are always zero, where its values have no effect.
            found |= official.zero_layer_variables("border", "model/prior/p", lambda kernel: kernel[:, :, -1:])
        if self.num_classes:
            found |= official.zero_layer_variables("label", "model/prior/y_emb")
        return found
