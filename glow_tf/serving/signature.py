"""Signatures of a SavedModel."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spec:
    """An input or output of a signature.

    Args:
      name: name in the signature.
      dtype: TensorFlow's name of the dtype, such as 'uint8' or 'string'.
      shape: sizes of the dimensions, with None for any size; None instead of a tuple for any rank.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Returns whether an array of this shape is accepted."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted in (None, found) for wanted, found in zip(self.shape, shape, strict=True)
        )

    @property
    def has_rows(self) -> bool:
        """True if the first dimension can have any size."""
        return self.shape is not None and self.shape[:1] == (None,)

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name} must have dtype {self.dtype}"
        # As in the graphs' error messages: B for the number of images, and ? for other free sizes.
        sizes = [str(size or ("?" if i else "B")) for i, size in enumerate(self.shape)]
        return f"{self.name} must have shape [{', '.join(sizes)}] and dtype {self.dtype}"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of a SavedModel.

    Args:
      name: name in the SavedModel.
      inputs: inputs by name.
      outputs: outputs by name.
      defaults: defaults of the optional inputs; strings are arrays of bytes objects.
    """

    name: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    defaults: Mapping[str, np.ndarray]

    @property
    def required(self) -> list[str]:
        """Names of the inputs without defaults."""
        return [name for name in self.inputs if name not in self.defaults]

    @property
    def has_rows(self) -> bool:
        """True if, judging by shapes, it works row by row, so that requests can be batched."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.has_rows for spec in specs)
