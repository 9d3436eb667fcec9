"""Base classes of coupling networks."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.description import Description
from glow_tf.flops import Product
from glow_tf.mode import Mode
from glow_tf.networks import actnorm
from glow_tf.official import OfficialVariable
from glow_tf.parameters import Nest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Description):
    """A conditioner: maps the part of the input that a coupling leaves unchanged to the parameters of its transform.

    A subclass is a frozen dataclass that defines `parameters` and `apply`:

    ```
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class OneByOne(glow_tf.networks.Network):
        width: int

        def parameters(self, rng, depth, inputs, outputs, shape):
            return {
                "enter": 0.05 * rng.standard_normal((depth, inputs, self.width)),
                "leave": np.zeros((depth, self.width, outputs)),
            }

        def apply(self, tensors, x, context=None, training=False, seed=None):
            h = tf.nn.relu(glow_tf.products.matmul(x, tensors["enter"]))
            return glow_tf.products.matmul(h, tensors["leave"])
    ```

    Matrix products are those of `glow_tf.products`, as `@` and `tf.einsum` compute in TF32 on GPUs, which is too
    coarse to invert a flow.
    The output should be 0 at initialisation, where most transforms are close to the identity.

    Attributes:
      is_random: whether `apply` uses its seed.
      parameters_per_dim: the `parameters_per_dim` of the transforms that it supports; None for any number.
      image_channels: channels of {"image": [B, ..., image_channels]} in the context that it reads; 0 for none.
    """

    kind: ClassVar[str] = "network"
    is_random: ClassVar[bool] = True
    parameters_per_dim: ClassVar[int | None] = None
    image_channels: ClassVar[int] = 0

    def parameters(
        self, rng: np.random.Generator, depth: int, inputs: int, outputs: int, shape: tuple[int, ...]
    ) -> Nest:
        """Returns the parameters of `depth` networks, stacked along a leading axis; a nest as in `Layer.parameters`.

        Args:
          rng: source of random numbers.
          depth: number of networks.
          inputs: channels of the input.
          outputs: channels of the output.
          shape: (*positions, C), the positions of the network's input and the channels of the coupling's event.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no parameters.")

    def apply(
        self, tensors: Nest, x: tf.Tensor, context: Any = None, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the output of one network, [B, ..., outputs].

        Args:
          tensors: nest as returned by `prepare`, without the leading axis.
          x: [B, ..., inputs].
          context: nest of tensors that the flow is conditioned on, or None.
          training: whether the flow is being trained.
          seed: [2] int32, a stateless seed for random numbers in training.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no apply.")

    def prepare(self, tensors: Nest) -> Nest:
        """Precomputes what `apply` reads from the stacked parameters: work that can be done for all steps at once."""
        return tensors

    def apply_in(self, mode: Mode, tensors: Nest, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Computes `apply` in a mode; for bfloat16, all floats that it reads are cast, and its output is cast back."""
        if mode.network_precision != "bfloat16":
            return self.apply(tensors, x, context, mode.training, mode.seed)
        tensors, narrow = tf.nest.map_structure(_bfloat16, (tensors, x))
        context = None if context is None else tf.nest.map_structure(_bfloat16, context)
        return tf.cast(self.apply(tensors, narrow, context, mode.training, mode.seed), x.dtype)

    def initialize(self, tensors: Nest, x: tf.Tensor, context: Any = None) -> tuple[Nest, tf.Tensor]:
        """Data-dependent initialisation.

        Args:
          tensors: as for `apply`.
          x: [B, ..., inputs], the batch.
          context: as for `apply`.

        Returns:
          The parameters that it sets, as a subset of the nest, and the output with them. By default it sets none.
        """
        return {}, self.apply(tensors, x, context)

    @property
    def is_initialized_from_data(self) -> bool:
        """True if `initialize` sets any parameters. By default, true if a subclass overrides it."""
        return type(self).initialize is not Network.initialize

    def check(self, shape: tuple[int, ...]) -> None:
        """Checks that the network supports a coupling of a shape, as for `parameters`.

        Raises:
          ValueError: if it does not; the caller prepends the name of the layer to the message.
        """

    def decays(self, path: str, shape: tuple[int, ...]) -> bool:
        """Returns whether weight decay applies to a parameter; by default to kernels, but not to biases and scales.

        Args:
          path: its path in the nest of `parameters`, such as `conv1/kernel`.
          shape: its shape, without the leading axis. By default, kernels are the parameters with more than one axis,
            except for `label/kernel`, whose rows are the biases of the labels.
        """
        return len(shape) > 1 and path != "label/kernel"

    def num_classes_needed(self) -> int:
        """Returns the number of label classes, for {"labels": [B] int32} in the context; 0 if it uses no labels."""
        return 0

    def hidden_channels(self) -> int:
        """Returns the number of hidden channels, which decides whether batches are sharded on CPUs; 1 by default."""
        return 1

    def products(self, shape: tuple[int, ...], batch_size: int, inputs: int, outputs: int) -> list[Product]:
        """Returns the matrix products of one network.

        Raises:
          ValueError: if they are not known.
        """
        raise ValueError(f"The matrix products of a {type(self).__name__} are not known.")

    def official_variables(self, path: str, steps: list[str]) -> dict[str, OfficialVariable]:
        """Returns how the official code stores the variables at `path`; `steps` are its names for the steps."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrecisionNetwork(Network, abstract=True):
    """Base class of networks whose matrix products are computed in the precision of a mode.

    Subclasses define `apply_with_precision`.
    """

    def apply_with_precision(
        self, precision: str, tensors: Nest, x: tf.Tensor, context: Any, training: bool, seed: tf.Tensor | None
    ) -> tf.Tensor:
        """Computes `apply` with matrix products of a given precision, see `glow_tf.runtime.products`."""
        raise NotImplementedError(f"{type(self).__name__} defines no apply_with_precision.")

    def apply(self, tensors, x, context=None, training=False, seed=None):
        return self.apply_with_precision("float32", tensors, x, context, training, seed)

    def apply_in(self, mode, tensors, x, context=None):
        if mode.network_precision != "tf32":
            return super().apply_in(mode, tensors, x, context)
        return self.apply_with_precision("tf32", tensors, x, context, mode.training, mode.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActnormNetwork(PrecisionNetwork, abstract=True):
    """Base class of this package's convolutional and dense networks, which may contain actnorms.

    Subclasses define `evaluate`.
    """

    is_random: ClassVar[bool] = False

    width: int

    def __post_init__(self):
        at_least("width", self.width, 1)

    def evaluate(
        self, tensors: Nest, x: tf.Tensor, context: Any, normalize: actnorm.Normalize, precision: str
    ) -> tf.Tensor:
        """Returns the output [B, ..., outputs].

        Args:
          tensors: what `prepare` returns, without the leading axis.
          x: [B, ..., inputs].
          context: as for `apply`.
          normalize: applies an actnorm, as `actnorm.apply` does.
          precision: precision of the products, see `glow_tf.runtime.products`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no evaluate.")

    def apply_with_precision(self, precision, tensors, x, context, training, seed):
        return self.evaluate(tensors, x, context, actnorm.apply, precision)

    def initialize(self, tensors, x, context=None):
        initializer = actnorm.Initializer()
        h = self.evaluate(tensors, x, context, initializer, "float32")
        return initializer.values(tensors), h

    def hidden_channels(self):
        return self.width


def _bfloat16(t: tf.Tensor) -> tf.Tensor:
    return tf.cast(t, tf.bfloat16) if t.dtype.is_floating else t
