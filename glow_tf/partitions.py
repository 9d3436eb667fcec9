"""Partitions of a coupling's input into the part that it conditions on and the part that it transforms."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from glow_tf.arguments import at_least, one_of
from glow_tf.description import Description
from glow_tf.runtime.permuting import permuted

Swap = int | tf.Tensor
PATTERNS = ("columns", "rows", "checkerboard")
_KINDS = tuple(f"{name}{odd}" for name in ("channels", *PATTERNS) for odd in ("", "-odd"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partition(Description):
    """A partition of a coupling's input into a conditioning and a transformed part.

    `swap` selects one of several ways to divide the input, counted from 0: an int, or an int32 scalar tensor. Most
    partitions have two ways, and 1 exchanges the roles of the parts.

    Attributes:
      ways: number of ways, through which successive couplings cycle.
    """

    kind: ClassVar[str] = "partition"
    ways: ClassVar[int] = 2

    def check(self, shape: tuple[int, ...]) -> None:
        """Checks that events of a shape can be divided.

        Raises:
          ValueError: if they cannot; the message continues after the name of the layer.
        """

    def channels(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the numbers of channels of the conditioning part and of the transformed part."""
        raise NotImplementedError(f"{type(self).__name__} defines no channels.")

    def positions(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of either part without the channel axis; by default that of the whole input."""
        return shape[:-1]

    def divide(self, x: tf.Tensor, swap: Swap = 0) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the conditioning part and the transformed part of `x`: [B, *shape]."""
        raise NotImplementedError(f"{type(self).__name__} defines no divide.")

    def merge(self, x1: tf.Tensor, x2: tf.Tensor, swap: Swap = 0) -> tf.Tensor:
        """Returns the `x` that `divide` splits into `x1` and `x2`."""
        raise NotImplementedError(f"{type(self).__name__} defines no merge.")

    def mask(self, x: tf.Tensor, swap: Swap = 0) -> tf.Tensor | None:
        """Returns 1 at the elements of `x2` that are transformed and 0 at those that are padding; None without padding.

        Args:
          x: [B, *shape], a tensor with the shape and dtype of the input. The result broadcasts against it.
          swap: as for the class.
        """
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Channels(Partition):
    """Conditions on the first channels and transforms the others (Kingma & Dhariwal 2018, section 3.3).

    Attributes:
      first: number of conditioning channels; 0 for half of them. Parts of different sizes cannot exchange their roles,
        so that there is only one way to divide the input if it is given: `alternate` has no effect then.
    """

    first: int = 0

    def __post_init__(self):
        at_least("first", self.first, 0)

    @property
    def ways(self):
        return 1 if self.first else 2

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
        if not self.first:
            return _exchanged(a, b, swap)
        if not tf.is_tensor(swap) and swap:
            raise ValueError("Parts of different sizes cannot be exchanged: leave first=0, which halves the channels.")
        return a, b


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkerboard(Partition):
    """Conditions on the positions with (h + w) even and transforms the others (Dinh et al. 2017, section 3.4).

    Each part has the shape of the whole input, with zeros in the place of the other. Sequences [T, C] are conditioned
    on the even positions, and flat events [D] on the even components (Dinh et al. 2015, section 5.1).
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Positions(Partition):
    """Conditions on every second position and transforms the others; neither part has the positions of the other.

    Networks therefore work on half of the positions: for [H, W, C], on [H, W/2, C], or on [H/2, W, C] for `rows`.

    Attributes:
      pattern: the conditioning positions: the even `columns`, as in the official code of Flow++ (Ho et al. 2019, which
        calls this a checkerboard), the even `rows`, or a `checkerboard` of those with (h + w) even. For sequences
        [T, C], all three are the even positions.
    """

    pattern: str = "columns"

    def __post_init__(self):
        one_of("pattern", self.pattern, PATTERNS)

    def check(self, shape):
        if len(shape) < 2 or shape[self._axis(shape)] % 2:
            number = f"an even number of {'rows' if self.pattern == 'rows' else 'columns'}"
            raise ValueError(f"halves the positions by {self.pattern} and needs {number}; it gets {shape}.")

    def channels(self, shape):
        return shape[-1], shape[-1]

    def positions(self, shape):
        axis = self._axis(shape)
        return *shape[:axis], shape[axis] // 2, *shape[axis + 1 : -1]

    def divide(self, x, swap=0):
        axis = self._axis(x.shape[1:]) + 1
        pairs = tf.reshape(x, [-1, *x.shape[1:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :]])
        a, b = tf.unstack(pairs, axis=axis + 1)
        return self._exchange(a, b, swap)

    def merge(self, x1, x2, swap=0):
        axis = self._axis(x1.shape[1:]) + 1
        pairs = tf.stack(self._exchange(x1, x2, swap), axis=axis + 1)
        return tf.reshape(pairs, [-1, *x1.shape[1:axis], 2 * x1.shape[axis], *x1.shape[axis + 1 :]])

    def _axis(self, shape):
        """Returns the axis of a shape that is halved."""
        return 0 if self.pattern == "rows" else len(shape) - 2

    def _exchange(self, a, b, swap):
        if self.pattern == "checkerboard" and a.shape.rank > 3:
            odd = tf.reshape(tf.range(a.shape[1]) % 2 == 1, [-1, 1, 1])
            a, b = tf.where(odd, b, a), tf.where(odd, a, b)
        return _exchanged(a, b, swap)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turns(Partition):
    """Divides by channels and by positions in turn (Kolesnikov et al. 2024, section 2.1, "Jet", and the authors' code).

    Both parts are [*positions, C/2]. By channels, the first half of them is the conditioning part. By positions, every
    second one is, and each position is split into two with C/2 channels.

    Attributes:
      kinds: the kinds of successive couplings: `channels`, or the conditioning positions: the even `columns`, the even
        `rows`, or a `checkerboard` of those with an even sum of indices; with the suffix `-odd`, the other half.
    """

    kinds: tuple[str, ...] = ("channels", "channels-odd", "checkerboard", "checkerboard-odd")

    def __post_init__(self):
        object.__setattr__(self, "kinds", tuple(self.kinds))
        if not self.kinds:
            raise ValueError("kinds must name at least one kind.")
        for kind in self.kinds:
            one_of("kinds", kind, _KINDS)

    @property
    def ways(self):
        return len(self.kinds)

    def check(self, shape):
        if len(shape) < 2 or shape[-1] % 2:
            raise ValueError(f"halves channels and positions and needs an even number of both; it gets {shape}.")
        for kind in self.kinds:
            odd = _odd(kind, shape[:-1])
            if 2 * odd.sum() != odd.size:
                raise ValueError(f"halves the positions by {kind} and needs as many even as odd ones; it gets {shape}.")

    def channels(self, shape):
        return shape[-1] // 2, shape[-1] // 2

    def divide(self, x, swap=0):
        *positions, channels = x.shape[1:]
        order, inverse = self._orders(positions, swap)
        halves = tf.reshape(x, [-1, 2 * math.prod(positions), channels // 2])
        x1, x2 = tf.split(permuted(halves, order, inverse, axis=1), 2, axis=1)
        return tf.reshape(x1, [-1, *positions, channels // 2]), tf.reshape(x2, [-1, *positions, channels // 2])

    def merge(self, x1, x2, swap=0):
        *positions, channels = x1.shape[1:]
        order, inverse = self._orders(positions, swap)
        x1, x2 = (tf.reshape(part, [-1, math.prod(positions), channels]) for part in (x1, x2))
        halves = permuted(tf.concat([x1, x2], axis=1), inverse, order, axis=1)
        return tf.reshape(halves, [-1, *positions, 2 * channels])

    def _orders(self, positions, swap):
        """Returns the order of the halves of the positions, with the conditioning ones first, and its inverse.

        Half c of position n has the index 2n + c.
        """
        orders = np.stack([np.argsort(_odd(kind, positions).ravel(), kind="stable") for kind in self.kinds])
        inverses = np.argsort(orders)
        if not tf.is_tensor(swap):
            return orders[swap], inverses[swap]
        return tf.gather(tf.constant(orders), swap), tf.gather(tf.constant(inverses), swap)


def _odd(kind: str, positions: tuple[int, ...]) -> np.ndarray:
    """Returns a mask of the halves of the positions that a kind transforms, [*positions, 2] bool."""
    name, _, odd = kind.partition("-")
    *coordinates, half = np.indices([*positions, 2])
    sums = {
        "channels": half,
        "rows": coordinates[0],
        "columns": coordinates[-1],
        "checkerboard": sum(coordinates),
    }
    return (sums[name] % 2 == 1) != bool(odd)


def _exchanged(a: tf.Tensor, b: tf.Tensor, swap: Swap) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `a` and `b`, of the same shape, in the order given by `swap`."""
    if tf.is_tensor(swap):
        swapped = tf.equal(swap, 1)
        return tf.where(swapped, b, a), tf.where(swapped, a, b)
    return (b, a) if swap else (a, b)


# Keyed by the names in earlier versions.
NAMED = {"channel": Channels(), "checkerboard": Checkerboard()}
