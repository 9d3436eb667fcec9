"""Base class of layers: their description, and the interface through which a model uses them."""

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
from glow_tf.parameters import Nest

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Part:
    """A bijector that is not decomposed further.

    Attributes:
      name: its name in messages.
      bijector: the bijector.
      tensors: the tensors from which it was built, keyed by path.
    """

    name: str
    bijector: bijectors.Bijector
    tensors: Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer(Description):
    """A layer of a flow, whose forward direction is from image to latent.

    Subclasses are frozen dataclasses whose fields are stored in `config.json`. They define `bijector` and override the
    other methods as needed:

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
      is_prior: whether its log-det counts as part of the prior, as for layers that whiten.
      is_recomputed: whether the `reversible` gradient recomputes its forward pass.
      is_random: whether its networks draw random numbers in training.
    """

    kind: ClassVar[str] = "layer"
    is_prior: ClassVar[bool] = False
    is_recomputed: ClassVar[bool] = False
    is_random: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        """Returns the event shape passed on to the next layer for an input of `shape`; by default, `shape` itself.

        If it has fewer channels than the output of the bijector, the last ones are factored out there and a level ends.

        Raises:
          ValueError: if the layer does not accept such a shape; the message continues after the layer's name.
        """
        return shape

    def parameters(self, shape: Shape, rng: np.random.Generator) -> Nest:
        """Returns a nest of `glow_tf.parameters.Parameter`s or initial values as arrays; float arrays are trained."""
        return {}

    def bijector(self, shape: Shape, tensors: Nest, context: Any = None) -> tfp.bijectors.Bijector:
        """Returns the bijector: one of this package, or any TFP bijector without a batch shape.

        Args:
          shape: event shape of its input.
          tensors: nest of tensors or variables with the structure of `parameters`.
          context: nest of tensors that the flow is conditioned on, such as {"labels": [n] int32}, or None.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no bijector.")

    def bijector_in(self, mode: Mode, shape: Shape, tensors: Nest, context: Any = None) -> bijectors.Bijector:
        """Returns `bijector`, adapted to this package's base class. Layers that depend on the mode override it."""
        bijector = self.bijector(shape, tensors, context)
        if isinstance(bijector, bijectors.Bijector):
            return bijector
        event_ndims = len(shape)
        after = bijector.forward_event_ndims(event_ndims)
        return bijectors.Adapter(bijector, event_ndims=event_ndims, inverse_event_ndims=after)

    def initialize(self, shape: Shape, tensors: Nest, x: tf.Tensor, context: Any = None) -> tuple[Nest, tf.Tensor]:
        """Computes the data-dependent initialisation (Kingma & Dhariwal 2018, section 3.1).

        Args:
          shape: event shape of the layer's input.
          tensors: nest with the structure of `parameters`.
          x: [B, *shape], the batch.
          context: as for `bijector`; only passed to methods that accept it.

        Returns:
          The initialised values, as a part of the nest, and the input of the next layer, [B, *output_shape(shape)]. By
          default, no values are set and the bijector is applied.
        """
        y, _ = self.bijector_in(Mode(), shape, tensors, context).forward_and_log_det(x)
        return {}, y[..., : self.output_shape(shape)[-1]]

    @property
    def is_initialized_from_data(self) -> bool:
        """True if `initialize` sets any parameters. By default, true if a subclass overrides it."""
        return type(self).initialize is not Layer.initialize

    def decays(self, path: str, shape: Shape) -> bool:
        """Returns whether weight decay applies to a parameter; by default, to none.

        Args:
          path: its path in the nest of `parameters`, such as `network/conv1/kernel`.
          shape: its shape.
        """
        return False

    def num_classes_needed(self) -> int:
        """Returns the number of classes that the layer is conditioned on, 0 if it is unconditional."""
        return 0

    def hidden_channels(self) -> int:
        """Returns the number of hidden channels of its networks, 1 if it has none."""
        return 1

    def in_domain(self, shape: Shape, x: tf.Tensor) -> tf.Tensor | None:
        """Returns whether each `x`: [..., *shape] is in the layer's domain, [...] bool; None (default) if all are.

        Only the first layer of a flow is asked: the inputs of the others are the outputs of the layers before them, and
        have to be in their domains.
        """
        return None

    def derived(self, tensors: Nest) -> tuple[Nest, Nest]:
        """Returns tensors that are expensive to compute from the parameters, and those parameters.

        If the former have been cached, `bijector` finds them among its `tensors`; see `models.derived`.
        """
        return {}, {}

    def matrices(self, tensors: Nest) -> list[tf.Tensor]:
        """Returns the matrices, [..., C, C], whose condition numbers show how accurately the layer can be inverted."""
        return []

    def parts(self, mode: Mode, shape: Shape, tensors: Nest, context: Any = None) -> Iterator[Part]:
        """Yields the bijectors that make up the layer, in forward order, to locate numerical failures."""
        bijector = self.bijector_in(mode, shape, tensors, context)
        yield Part(bijector.name, bijector, {})

    def products(self, shape: Shape, batch_size: int) -> list[Product]:
        """Returns the matrix products of a forward pass over a batch.

        Raises:
          ValueError: if they are not known.
        """
        return []

    def official_variables(self, shape: Shape, level: int) -> dict[str, OfficialVariable]:
        """Returns how the official Glow code stores the layer's variables, keyed by path; level 0 is the finest."""
        return {}
