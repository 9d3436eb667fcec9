"""Partitions of an input into the part that conditions a coupling and the part that it transforms."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from glow_tf.arguments import at_least
from glow_tf.description import Description

Swap = int | tf.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partition(Description):
    """How a coupling divides its input.

    `swap` exchanges the roles of the parts where it is 1: an int, or an int32 scalar tensor.
    """

    kind: ClassVar[str] = "partition"

    def check(self, shape: tuple[int, ...]) -> None:
        """Checks that events of a shape can be divided.

        Raises:
          ValueError: if they cannot; the message goes on after the name of the layer.
        """

    def channels(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the number of channels of the part that conditions and of the one that is transformed."""
        raise NotImplementedError(f"{type(self).__name__} defines no channels.")

    def divide(self, x: tf.Tensor, swap: Swap = 0) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the part of `x`: [B, *shape] that conditions and the part that is transformed."""
        raise NotImplementedError(f"{type(self).__name__} defines no divide.")

    def merge(self, x1: tf.Tensor, x2: tf.Tensor, swap: Swap = 0) -> tf.Tensor:
        """Returns the `x` that `divide` divides into `x1` and `x2`."""
        raise NotImplementedError(f"{type(self).__name__} defines no merge.")

    def mask(self, x: tf.Tensor, swap: Swap = 0) -> tf.Tensor | None:
        """Returns 1 at the elements of `x2` that are transformed and 0 at those that only fill it; None if all are.

        Args:
          x: [B, *shape], a tensor of the shape and dtype that is divided. The result broadcasts against it.
          swap: as above.
        """
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Channels(Partition):
    """The first channels condition and the others are transformed (Kingma & Dhariwal 2018, section 3.3).

    Attributes:
      first: number of channels that condition; half of them for 0.
    """

    first: int = 0

    def __post_init__(self):
        at_least("first", self.first, 0)

    def check(self, shape):
        if not self.first and shape[-1] % 2:
            raise ValueError(f"halves the channels and needs an even number of them; it gets {shape}.")
        if self.first >= shape[-1]:
            raise ValueError(f"conditions on first={self.first} channels and needs more than these; it gets {shape}.")

    def channels(self, shape):
        first = self.first or shape[-1] // 2
        return first, shape[-1] - first

    def divide(self, x, swap=0):
        sizes = self.channels(x.shape)
        a, b = tf.split(x, sizes if self.first else 2, axis=-1)
        return self._exchange(a, b, swap)

    def merge(self, x1, x2, swap=0):
        return tf.concat(self._exchange(x1, x2, swap), axis=-1)

    def _exchange(self, a, b, swap):
        if self.first and (tf.is_tensor(swap) or swap):
            raise ValueError("Parts of different sizes cannot be exchanged: leave first=0, which halves the channels.")
        if tf.is_tensor(swap):
            swapped = tf.equal(swap, 1)
            return tf.where(swapped, b, a), tf.where(swapped, a, b)
        return (b, a) if swap else (a, b)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkerboard(Partition):
    """The positions with (h + w) even condition and the others are transformed (Dinh et al. 2017, section 3.4).

    Each part has the shape of the whole, with zeros in the other's place. Of sequences [T, C] the even positions
    condition, and of flat events [D] the even components (Dinh et al. 2015, section 5.1).
    """

    def check(self, shape):
        if max(shape[:-1] if len(shape) > 1 else shape) < 2:
            raise ValueError(f"has a checkerboard mask and needs more than one position; it gets {shape}.")

    def channels(self, shape):
        return shape[-1], shape[-1]

    def divide(self, x, swap=0):
        second = self.mask(x, swap)
        return x * (1 - second), x * second

    def merge(self, x1, x2, swap=0):
        return x1 + x2

    def mask(self, x, swap=0):
        axes = x.shape[1:-1] if x.shape.rank > 2 else x.shape[1:]
        parity = sum(tf.meshgrid(*(tf.range(n) for n in axes), indexing="ij")) + swap
        second = tf.cast(parity % 2, x.dtype)
        return second[..., tf.newaxis] if x.shape.rank > 2 else second


# By the names of earlier versions.
NAMED = {"channel": Channels(), "checkerboard": Checkerboard()}
