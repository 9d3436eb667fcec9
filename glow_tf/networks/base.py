"""The interface of networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.description import Description
from glow_tf.flops import Product
from glow_tf.mode import Mode
from glow_tf.networks import actnorm
from glow_tf.official import OfficialVariable

Nest = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Description):
    """A conditioner: from the part of an input that a coupling leaves as it is to the parameters of its transform.

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
            return tf.nn.relu(x @ tensors["enter"]) @ tensors["leave"]
    ```

    The output should be 0 at first, where most transforms are near the identity.

    Attributes:
      is_random: whether `apply` uses its seed.
      max_parameters_per_dim: the most that a transform may have for its output; None for any number.
      image_channels: channels of {"image": [B, ..., image_channels]} in the context that it sees; 0 for none.
    """

    kind: ClassVar[str] = "network"
    is_random: ClassVar[bool] = True
    max_parameters_per_dim: ClassVar[int | None] = None
    image_channels: ClassVar[int] = 0

    def parameters(
        self, rng: np.random.Generator, depth: int, inputs: int, outputs: int, shape: tuple[int, ...]
    ) -> Nest:
        """Returns the parameters of `depth` networks, stacked along a leading axis, as for `Layer.parameters`.

        Args:
          rng: source of random numbers.
          depth: number of networks.
          inputs: channels of the input.
          outputs: channels of the output.
          shape: event shape of the coupling, whose axes but the last are those of the input.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no parameters.")

    def apply(
        self, tensors: Nest, x: tf.Tensor, context: Any = None, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the output of one network, [B, ..., outputs].

        Args:
          tensors: nest like that of `parameters`, without the leading axis.
          x: [B, ..., inputs].
          context: nest of what the flow is conditioned on; None without.
          training: whether the flow is being trained.
          seed: [2] int32, a stateless seed, in training.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no apply.")

    def prepare(self, tensors: Nest) -> Nest:
        """Returns what `apply` reads of the stacked parameters, for what can be computed of all of them at once."""
        return tensors

    def apply_in(self, mode: Mode, tensors: Nest, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Returns `apply` as it is computed in a mode: in bfloat16 everything that it reads and computes is of it."""
        if mode.network_precision != "bfloat16":
            return self.apply(tensors, x, context, mode.training, mode.seed)
        tensors, narrow = tf.nest.map_structure(_bfloat16, (tensors, x))
        context = None if context is None else tf.nest.map_structure(_bfloat16, context)
        return tf.cast(self.apply(tensors, narrow, context, mode.training, mode.seed), x.dtype)

    def initialize(self, tensors: Nest, x: tf.Tensor, context: Any = None) -> tuple[Nest, tf.Tensor]:
        """Data-dependent initialisation.

        Args:
          tensors: what `apply` reads.
          x: [B, ..., inputs], the batch.
          context: as for `apply`.

        Returns:
          The parameters that it sets, a part of the nest, and the output with them; nothing and `apply` by default.
        """
        return {}, self.apply(tensors, x, context)

    def check(self, shape: tuple[int, ...]) -> None:
        """Checks that it can be the network of a coupling of events of a shape.

        Raises:
          ValueError: if it cannot; the message goes on after the name of the layer.
        """

    def decays(self, path: str, shape: tuple[int, ...]) -> bool:
        """Returns whether weight decay applies to a parameter: by default to kernels, and not to biases and scales.

        Args:
          path: its path in the nest of `parameters`, such as `conv1/kernel`.
          shape: its shape, without the leading axis. By default kernels are what has more than one axis.
        """
        return len(shape) > 1

    def num_classes_needed(self) -> int:
        """Returns the number of labels, {"labels": [B] int32} in the context, that it depends on; 0 for none."""
        return 0

    def hidden_channels(self) -> int:
        """Returns the number of hidden channels, by which is chosen how cores share the work; 1 by default."""
        return 1

    def products(self, shape: tuple[int, ...], batch_size: int, inputs: int, outputs: int) -> list[Product]:
        """Returns the matrix products of one network.

        Raises:
          ValueError: if they are not known.
        """
        raise ValueError(f"The matrix products of a {type(self).__name__} are not known.")

    def official_variables(self, path: str, steps: list[str]) -> dict[str, OfficialVariable]:
        """Returns how the official code stores the variables at `path`, for the steps called `steps` there."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrecisionNetwork(Network, abstract=True):
    """Base class of networks whose products are computed in the precision of a mode.

    Subclasses define `apply_with_precision`.
    """

    def apply_with_precision(
        self, precision: str, tensors: Nest, x: tf.Tensor, context: Any, training: bool, seed: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns `apply` with products of a precision, see `glow_tf.runtime.products`."""
        raise NotImplementedError(f"{type(self).__name__} defines no apply_with_precision.")

    def apply(self, tensors, x, context=None, training=False, seed=None):
        return self.apply_with_precision("float32", tensors, x, context, training, seed)

    def apply_in(self, mode, tensors, x, context=None):
        if mode.network_precision != "tf32":
            return super().apply_in(mode, tensors, x, context)
        return self.apply_with_precision("tf32", tensors, x, context, mode.training, mode.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltIn(PrecisionNetwork, abstract=True):
    """Base class of the convolutional and dense networks of this package, which may have actnorms.

    Subclasses define `evaluate`.
    """

    is_random: ClassVar[bool] = False

    width: int

    def __post_init__(self):
        at_least("width", self.width, 1)
        # Each is a layer of its own in the graph.
        at_least("blocks", getattr(self, "blocks", 1), 1, most=1000)

    def evaluate(
        self, tensors: Nest, x: tf.Tensor, context: Any, normalize: actnorm.Normalize, precision: str
    ) -> tf.Tensor:
        """Returns the output [B, ..., outputs].

        Args:
          tensors: what `prepare` returns, without the leading axis.
          x: [B, ..., inputs].
          context: as for `apply`.
          normalize: computes actnorms.
          precision: of the products, see `glow_tf.runtime.products`.
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
