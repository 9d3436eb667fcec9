"""Data set interface."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.arguments import is_int
from glow_tf.runtime.pipelines import untuned
from glow_tf.runtime.text import printable

SPLITS = ("train", "test")
# Label of an image whose own label is not used.
UNLABELLED = -1
_BLOCK_BYTES = 2**18
_LARGEST_BLOCK = 256


class DataError(ValueError):
    """Raised if the data cannot be used as requested; the message states the cause and the remedy."""


class HeldOutError(DataError):
    """Raised if images are to be held out of data that has its own test split, or more than it has."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Source:
    """Labelled uint8 images of one shape, in a train and a test split.

    Attributes:
      name: the name it was loaded by.
      image_shape: (H, W, C) of the model's images, where C is 1 or 3.
      stored_shape: (H, W, C) of the images of `examples` and `batches`: `image_shape`, or larger if
        `train_batches` and `test_batches` crop them.
      num_classes: number of labels; 0 if there are none.
      class_names: name of each label, of length `num_classes`.
      sizes: number of images in "train" and "test", including skipped ones.
      skipped: the reason for each image that cannot be read or is too small, keyed by name; grows
        as such images are found. Only sources of picture files have any.
      arguments: JSON-serializable arguments of `load_source` that recreate this source.
    """

    name: str
    image_shape: tuple[int, int, int]
    stored_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    sizes: Mapping[str, int | None]
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def examples(self, split: str, seed: int | None = None, start: int = 0) -> tf.data.Dataset:
        """Opens a split as single examples.

        Args:
          split: "train" or "test".
          seed: None for one pass in a fixed order; an integer for an infinite stream, in a new
            order every epoch, determined by (seed, epoch).
          start: position in the infinite stream to start from.

        Returns:
          Dataset of (image uint8 [H, W, C] of `stored_shape`, label int32 []); the label is 0
          if there are no labels.

        Raises:
          ValueError: on an unknown split, a seed outside 64 bits, a negative start, or a
            start without a seed.
        """
        return self._checked_blocks(split, seed, start).unbatch()

    def batches(self, split: str, batch_size: int, seed: int | None = None, start: int = 0) -> tf.data.Dataset:
        """Opens a split as batches, in the same order as `examples` but much faster.

        Args:
          split, seed, start: as for `examples`.
          batch_size: examples per batch, at least 1; the last batch of one pass may be smaller.

        Returns:
          Dataset of (images uint8 [batch, H, W, C] of `stored_shape`, labels int32 [batch]).

        Raises:
          ValueError: as for `examples`.
        """
        return self._checked_blocks(split, seed, start).rebatch(batch_size, drop_remainder=seed is not None)

    def spaced_batches(self, split: str, batch_size: int, count: int) -> tf.data.Dataset:
        """Opens at most `count` examples of a split as batches, in the order of `examples`.

        They are evenly spaced if the source has random access, as the first ones may all be of one class; else they are
        the first ones.

        Args:
          split, batch_size: as for `batches`.
          count: maximum number of examples, at least 1.

        Raises:
          ValueError: on an unknown split.
        """
        return self.examples(split).take(count).batch(batch_size)

    def _checked_blocks(self, split, seed, start):
        check_split(split)
        if seed is not None and not (is_int(seed) and -(2**63) <= seed < 2**63):
            raise ValueError(f"seed must be an integer of at most 64 bits or None, got {seed!r}.")
        if not is_int(start) or start < 0:
            raise ValueError(f"start must be an integer >= 0, got {start!r}.")
        if start and seed is None:
            raise ValueError(f"start={start} needs a seed: one pass always starts at 0.")
        options = tf.data.Options()
        options.deterministic = True
        return untuned(self._blocks(split, seed, start).with_options(options))

    def _blocks(self, split: str, seed: int | None, start: int) -> tf.data.Dataset:
        """Returns the stream as a dataset of (images [n, H, W, C], labels [n]), in blocks of any size n."""
        raise NotImplementedError

    @property
    def block_size(self) -> int:
        """Number of images per block of `_blocks`: enough to amortize a call, few enough to buffer several blocks."""
        return min(max(1, _BLOCK_BYTES // int(np.prod(self.stored_shape))), _LARGEST_BLOCK)

    def sample(self, count: int) -> np.ndarray:
        """Returns at most `count` training images, always the same ones: uint8 [n, H, W, C] of `stored_shape`."""
        return next(self.batches("train", count).as_numpy_iterator())[0]

    def row_names(self, split: str) -> Sequence[str]:
        """Returns the names of a split's images in the data set, or their numbers if they have no names."""
        return [str(row) for row in range(self.sizes[split])]

    def row_labels(self, split: str) -> np.ndarray:
        """Returns the label of each image of a split, int [N]."""
        raise NotImplementedError

    def is_readable(self, split: str, row: int) -> bool:
        """Returns whether an image of a split can be read; unreadable ones are left out."""
        return True

    def with_labels_of(self, rows: Sequence[int]) -> "Source":
        """Returns the same images with only the given rows of the train split labelled.

        The label of other training images is `UNLABELLED`; test labels are unchanged.

        Raises:
          DataError: if this kind of source cannot leave out labels.
        """
        raise DataError(
            f"{self.name}: labels of single images cannot be left out of a {type(self).__name__}. Save the images to a "
            "folder or a .npz file, and use --dataset=folder or --dataset=arrays."
        )

    def reduced_to(self, rows: Sequence[int]) -> "Source":
        """Returns the same source with only the given rows of the train split.

        Raises:
          DataError: if this kind of source cannot leave out single images.
        """
        raise DataError(
            f"{self.name}: single images cannot be left out of a {type(self).__name__}. Save the images to a folder or "
            "a .npz file, and use --dataset=folder or --dataset=arrays."
        )

    def identity(self) -> dict[str, Any]:
        """Returns JSON-serializable properties that identify the data set independently of its location."""
        classes = list(self.class_names) or "no labels"
        return {"data set": self.name, **{f"{split} images": self.sizes[split] for split in SPLITS}, "classes": classes}

    @property
    def title(self) -> str:
        """Display name: that of the folder or file for user data, else `name`."""
        return printable(own_name(self.name, pathlib.PurePath(self.arguments.get("data_dir") or "")))

    def attributes(self, split: str) -> dict[str, np.ndarray]:
        """Returns a dict from the attributes in the data set to whether each image of a split has them: bool [N]."""
        return {}

    def describe(self) -> str:
        """Describes the data set in one line: name, image shape, classes, sizes."""
        shape = "x".join(str(size) for size in self.image_shape)
        crops = "" if self.stored_shape == self.image_shape else " cropped from {}x{}".format(*self.stored_shape)
        classes = f"{self.num_classes} classes" if self.num_classes else "no labels"
        sizes = " + ".join(f"{self.sizes[split]} {split}" for split in SPLITS)
        return f"{self.name}: {shape}{crops}, {classes}, {sizes} images"

    def describe_skipped(self, limit: int = 20) -> str:
        """Lists the images skipped so far, one per line with the reason; empty if there are none.

        Args:
          limit: maximum number of images to name.
        """
        skipped = sorted(dict(self.skipped).items())
        if not skipped:
            return ""
        count = f"{len(skipped):,} images" if len(skipped) > 1 else "1 image"
        named = [f"  {name}: {reason}" for name, reason in skipped[:limit]]
        more = [f"  and {len(skipped) - limit:,} more"] if len(skipped) > limit else []
        return "\n".join([f"{self.name}: {count} left out:", *named, *more])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"


def own_name(name: str, path: pathlib.PurePath) -> str:
    """Returns the name of the folder or file of user data, else that of the data set."""
    # The names of folders can have dots, which no file type follows.
    return {"folder": path.name, "arrays": path.stem}.get(name) or name


def check_split(split: str) -> None:
    """Raises ValueError on an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}.")


def held_out_count(count: int, test_fraction: float | None, test_size: int | None, default: float, name: str) -> int:
    """Returns how many of `count` examples to hold out for the test split: at least 1, never all.

    Args:
      count: total number of examples.
      test_fraction: fraction to hold out, in (0, 1); None for `default`.
      test_size: number to hold out instead of a fraction; None for the fraction.
      default: the fraction if neither is given.
      name: name of the examples in error messages.

    Raises:
      DataError: if there are fewer than two examples.
      HeldOutError: if a split would be empty.
    """
    fraction = check_fraction(test_fraction, default)
    if count < 2:
        raise DataError(f"{name} holds {count} image(s); at least 2 are needed, one to train on and one to test on.")
    if test_size is None:
        return min(max(1, round(count * fraction)), count - 1)
    if not is_int(test_size) or not 1 <= test_size < count:
        raise HeldOutError(
            f"test_size must be between 1 and {count - 1} for the {count} images of {name}, got {test_size!r}."
        )
    return int(test_size)


def check_fraction(test_fraction: float | None, default: float) -> float:
    """Returns the fraction to hold out, in (0, 1); `default` for None. Raises DataError."""
    fraction = default if test_fraction is None else test_fraction
    if not 0 < fraction < 1:
        raise DataError(f"test_fraction must lie between 0 and 1, got {test_fraction!r}.")
    return fraction
