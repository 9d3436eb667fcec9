"""Directions in latent space that change an attribute (Kingma & Dhariwal 2018, section 6.2 and figure 6)."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from glow_tf.analysis.codec import Codec
from glow_tf.data import DataError
from glow_tf.data.array_file import in_memory, open_arrays, texts
from glow_tf.data.names import normalized
from glow_tf.runtime import paths
from glow_tf.runtime.files import atomic_write

# Largest multiple of the difference of means, in either direction, in the official demo.
SCALE = 1.6


@dataclasses.dataclass(frozen=True, eq=False)
class Directions:
    """Directions of A attributes, each the mean latent of images with the attribute minus that of images without it.

    Attributes:
      names: names of the attributes.
      vectors: [A, D] float32.
      positives: [A] int, number of images with each attribute.
      negatives: [A] int, number of images without it.

    Raises:
      ValueError: if shapes or types are wrong, names are missing or repeated, or a direction is not finite.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    def __post_init__(self):
        count = len(self.names)
        if not count or len(set(self.names)) < count:
            raise ValueError(f"Directions need names that differ, not {', '.join(self.names) or 'none'}.")
        vectors = np.asarray(self.vectors)
        if vectors.ndim != 2 or len(vectors) != count or vectors.dtype.kind != "f":
            raise ValueError(
                f"The vectors of {count} attributes must be floats [{count}, D], not {vectors.dtype} {vectors.shape}."
            )
        unfit = ~np.isfinite(vectors).all(axis=1)
        if unfit.any():
            raise ValueError(f"The direction of {self.names[int(unfit.argmax())]!r} is not finite.")
        for key in ("positives", "negatives"):
            counts = np.asarray(getattr(self, key))
            whole_numbers = counts.dtype.kind in "iuf" and np.all(
                np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))
            )
            if counts.shape != (count,) or not whole_numbers:
                raise ValueError(f"{key} must be {count} numbers of images, one for each attribute.")

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns the direction [D] of an attribute.

        Raises:
          ValueError: if there is no attribute of that name.
        """
        return self.vectors[self._row(name)]

    def only(self, names: Sequence[str]) -> "Directions":
        """Returns the directions of the attributes `names`. Raises ValueError if one does not exist."""
        rows = [self._row(name) for name in names]
        return Directions(tuple(names), self.vectors[rows], self.positives[rows], self.negatives[rows])

    def _row(self, name: str) -> int:
        names = [normalized(own) for own in self.names]
        if normalized(name) not in names:
            raise ValueError(f"There is no attribute {name!r}; there are {', '.join(self.names)}.")
        return names.index(normalized(name))

    def combined(self, amounts: Mapping[str, float]) -> np.ndarray:
        """Returns the sum of directions, each multiplied by its amount, [D]."""
        if not amounts:
            raise ValueError("At least one attribute is needed.")
        return sum(np.float32(amount) * self[name] for name, amount in amounts.items())

    def save(self, path: str | os.PathLike) -> None:
        """Writes the directions to a `.npz` file, atomically."""
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{**dataclasses.asdict(self), "names": np.array(self.names)})

    @classmethod
    def load(cls, path: str | os.PathLike, dimensions: int | None = None) -> "Directions":
        """Reads a file written by `save`.

        Args:
          path: the file.
          dimensions: the model's D, to check against; by default, it is not checked.

        Raises:
          FileNotFoundError: if the file does not exist.
          DataError: if it does not hold directions, or holds those of another model.
        """
        path = paths.local(path)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{os.fspath(path)} is not there; glow attributes writes such a file.")
        try:
            arrays = open_arrays(path, [field.name for field in dataclasses.fields(cls)])
            found = cls._from_arrays(**{key: in_memory(array) for key, array in arrays.items()})
        except ValueError as error:
            raise DataError(f"{path} holds no directions of attributes: {error}") from error
        if dimensions is not None:
            found.check_dimensions(dimensions, f"{path} belongs")
        return found

    def check_dimensions(self, dimensions: int, what: str = "These belong") -> None:
        """Raises DataError, with a message that begins with `what`, unless directions have `dimensions` dimensions."""
        own = self.vectors.shape[1]
        if own != dimensions:
            raise DataError(f"{what} to another model: its directions have {own} dimensions, the model {dimensions}.")

    @classmethod
    def _from_arrays(
        cls, names: np.ndarray, vectors: np.ndarray, positives: np.ndarray, negatives: np.ndarray
    ) -> "Directions":
        """Builds directions from the arrays of a file, which may have any dtype and shape."""
        if names.ndim != 1 or names.dtype.kind != "U":
            raise ValueError(f"its names are {names.dtype} {names.shape}, not a list of texts.")
        if vectors.dtype.kind == "f":
            with np.errstate(over="ignore"):
                vectors = vectors.astype(np.float32)
        return cls(tuple(texts(names)), vectors, positives, negatives)


def attribute_directions(codec: Codec, batches: Iterable[Mapping[str, np.ndarray]], names: Sequence[str]) -> Directions:
    """Computes directions in one pass over images that need not fit in memory.

    Args:
      codec: codec of the model.
      batches: batches of `images` [B, H, W, C] uint8, `labels` [B] (only used by conditional models) and `attributes`
        [B, A]: 1 present, 0 absent, -1 unknown.
      names: names of the A attributes.

    Raises:
      DataError: if an attribute is present in no image, or absent in none.
    """
    count, dimensions = len(names), codec.flow.config.dimensions
    sums = np.zeros([2, count, dimensions])
    counts = np.zeros([2, count], np.int64)
    for batch in batches:
        z = codec.encode(batch["images"], batch["labels"] if codec.flow.config.conditional else None)
        for value in (0, 1):
            has = np.asarray(batch["attributes"]) == value
            sums[value] += has.T.astype(np.float32) @ z
            counts[value] += has.sum(axis=0)
    check_counts(names, counts[1], counts[0])
    means = sums / counts[..., np.newaxis]
    return Directions(tuple(names), (means[1] - means[0]).astype(np.float32), counts[1], counts[0])


def check_counts(names: Sequence[str], positives: np.ndarray, negatives: np.ndarray) -> None:
    """Raises DataError if an attribute is present in no image, or absent in none.

    Args:
      names: names of the A attributes.
      positives: [A] int, number of images with each attribute.
      negatives: [A] int, number of images without it.
    """
    counts = zip(names, positives, negatives, strict=True)
    bad = [f"{name} ({present} with, {absent} without)" for name, present, absent in counts if not present * absent]
    if bad:
        raise DataError(
            f"An attribute needs images that have it and images that do not: {', '.join(bad)}. Use more images, or "
            "leave it out."
        )


def manipulate(
    codec: Codec,
    images: np.ndarray,
    direction: np.ndarray,
    amounts: Sequence[float],
    *,
    scale: float = SCALE,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Moves images along a direction in latent space: z + scale * amount * direction.

    Args:
      codec: codec of the model.
      images: [N, H, W, C] uint8.
      direction: [D], one of `Directions`.
      amounts: from -1, away from the attribute, to 1, towards it; 0 reconstructs the image.
      scale: factor on the direction; by default that of the official demo.
      labels: [N] int for a conditional model.

    Returns:
      [N, len(amounts), H, W, C] uint8.
    """
    z = codec.encode(images, labels)
    factors = scale * np.asarray(amounts, np.float32)
    moved = z[:, np.newaxis] + factors[:, np.newaxis] * np.asarray(direction, np.float32)
    row_labels = None if labels is None else np.repeat(labels, factors.size)
    decoded = codec.decode(moved.reshape(-1, z.shape[1]), row_labels)
    return decoded.reshape(len(z), factors.size, *decoded.shape[1:])
