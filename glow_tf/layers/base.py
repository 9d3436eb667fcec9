"""The description of a layer, and all that a model asks of it."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors
from glow_tf.description import Description
from glow_tf.flops import Product
from glow_tf.mode import Mode
from glow_tf.official import OfficialVariable

Nest = Mapping[str, Any]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Part:
    """A bijector that cannot be taken apart further.

    Attributes:
      name: its name in messages.
      bijector: the bijector.
      tensors: the tensors that it was made of, by path.
    """

    name: str
    bijector: bijectors.Bijector
    tensors: Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer(Description):
    """A layer of a flow, in the direction from image to latent.

    A subclass is a frozen dataclass, whose fields are stored in `config.json`. It defines `bijector` and, where there
    is something to say, the other methods:

    ```
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class ElementwiseScale(glow_tf.layers.Layer):
        initial: float = 1.0

        def parameters(self, shape, rng):
            return {"log_scale": np.full(shape, np.log(self.initial))}

        def bijector(self, shape, tensors, context=None):
            return tfp.bijectors.Scale(log_scale=tensors["log_scale"])
    ```

    Shapes are those of one example, without batch axes.

    Attributes:
      is_prior: whether its log-det is that of a prior, as of layers that whiten.
      is_recomputed: whether the gradient `reversible` computes it once more.
    """

    kind: ClassVar[str] = "layer"
    is_prior: ClassVar[bool] = False
    is_recomputed: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        """Returns the shape of what goes on to the next layer, where the layer takes `shape`; the same by default.

        If it has fewer channels than the bijector gives, the last ones leave the flow there, and a level ends.

        Raises:
          ValueError: if the layer does not take such a shape; the message goes on after the name of the layer.
        """
        return shape

    def parameters(self, shape: Shape, rng: np.random.Generator) -> Nest:
        """Returns a nest of `glow_tf.parameters.Parameter`s, or of arrays: the initial values of floats are trained."""
        return {}

    def bijector(self, shape: Shape, tensors: Nest, context: Any = None) -> tfp.bijectors.Bijector:
        """Returns the bijector: one of this package, or any of TFP without batch shape.

        Args:
          shape: event shape that it takes.
          tensors: nest like that of `parameters`, of tensors or variables.
          context: nest of what the flow is conditioned on, such as {"labels": [n] int32}; None without.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no bijector.")

    def bijector_in(self, mode: Mode, shape: Shape, tensors: Nest, context: Any = None) -> bijectors.Bijector:
        """Returns `bijector`, as one of this package, as it is computed in a mode, for layers that know of modes."""
        bijector = self.bijector(shape, tensors, context)
        if isinstance(bijector, bijectors.Bijector):
            return bijector
        event_ndims = len(shape)
        after = bijector.forward_event_ndims(event_ndims)
        return bijectors.Adapter(bijector, event_ndims=event_ndims, inverse_event_ndims=after)

    def initialize(self, shape: Shape, tensors: Nest, x: tf.Tensor, context: Any = None) -> tuple[Nest, tf.Tensor]:
        """Data-dependent initialisation (Kingma & Dhariwal 2018, section 3.1).

        Args:
          shape: event shape that the layer takes.
          tensors: nest like that of `parameters`.
          x: [B, *shape], the batch.
          context: as for `bijector`; only passed to methods that have it.

        Returns:
          The values that it sets, a part of the nest; and [B, *output_shape(shape)], what enters the next layer. By
          default nothing is set, and the bijector is applied.
        """
        y, _ = self.bijector_in(Mode(), shape, tensors, context).forward_and_log_det(x)
        return {}, y[..., : self.output_shape(shape)[-1]]

    def is_random(self) -> bool:
        """Returns whether its networks draw random numbers in training."""
        return False

    def decays(self, path: str, shape: Shape) -> bool:
        """Returns whether weight decay applies to a parameter, to none by default.

        Args:
          path: its path in the nest of `parameters`, such as `network/conv1/kernel`.
          shape: its shape.
        """
        return False

    def num_classes_needed(self) -> int:
        """Returns the number of labels that the layer is conditioned on, 0 for none."""
        return 0

    def network_width(self) -> int:
        """Returns the number of hidden channels of its networks, 1 without."""
        return 1

    def in_domain(self, shape: Shape, x: tf.Tensor) -> tf.Tensor | None:
        """Returns of x: [..., *shape] whether the layer can take it, [...] bool; None, the default, if it takes all."""
        return None

    def derived(self, tensors: Nest) -> tuple[Nest, Nest]:
        """Returns tensors that take long to compute from the parameters, and those parameters.

        `bijector` finds the former among its tensors where somebody has kept them, see `models.inverses`.
        """
        return {}, {}

    def matrices(self, tensors: Nest) -> list[tf.Tensor]:
        """Returns the matrices [..., C, C] whose condition numbers tell how well the layer can be inverted."""
        return []

    def parts(self, mode: Mode, shape: Shape, tensors: Nest, context: Any = None) -> Iterator[Part]:
        """Yields the bijectors that the layer consists of, in forward order, to find the one that fails."""
        bijector = self.bijector_in(mode, shape, tensors, context)
        yield Part(bijector.name, bijector, {})

    def products(self, shape: Shape, batch_size: int) -> list[Product]:
        """Returns the matrix products of a forward pass over a batch.

        Raises:
          ValueError: if they are not known.
        """
        return []

    def official_variables(self, shape: Shape, level: int) -> dict[str, OfficialVariable]:
        """Returns how the official code of Glow stores the layer's variables, by their paths; level 0 is the finest."""
        return {}
