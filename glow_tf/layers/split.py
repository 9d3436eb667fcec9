"""Factoring out half of the channels."""

import dataclasses
from typing import ClassVar

from glow_tf import bijectors, flops, official
from glow_tf.layers.base import Layer
from glow_tf.networks import zero_layer
from glow_tf.networks.convolution import check_positions, kernel_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split(Layer):
    """Factors out the second half of the channels (Kingma & Dhariwal 2018, figure 2; Dinh et al. 2017, section 3.6).

    Attributes:
      learned: whether the second half is whitened by a learned prior conditioned on the first; otherwise its prior is
        the base distribution, by default standard normal.
    """

    is_prior: ClassVar[bool] = True

    learned: bool = True

    def output_shape(self, shape):
        if shape[-1] % 2:
            raise ValueError(f"needs an even number of channels; it gets {shape}.")
        if self.learned:
            check_positions(shape, "has a convolutional prior and ")
        return *shape[:-1], shape[-1] // 2

    def parameters(self, shape, rng):
        if not self.learned:
            return {}
        return zero_layer.parameters(*kernel_size(shape, 3), shape[-1] // 2 + 1, shape[-1])

    def bijector(self, shape, tensors, context=None):
        prior = (lambda x: zero_layer.convolve(tensors, x)) if self.learned else None
        return bijectors.Split(prior, event_ndims=len(shape))

    def products(self, shape, batch_size):
        return [flops.convolution(shape, batch_size, 3, shape[-1] // 2, shape[-1])] if self.learned else []

    def official_variables(self, shape, level):
        return official.zero_layer_variables("", f"model/pool{level}/conv") if self.learned else {}
