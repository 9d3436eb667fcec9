"""Inputs and outputs of a SavedModel's function."""

import dataclasses
from collections.abc import Mapping

import numpy as np


class RequestError(ValueError):
    """An error of a request, in words for the one who made it.

    Args:
      message: the words.
      status: of HTTP.
    """

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Spec:
    """An input or output.

    Args:
      name: what the signature calls it.
      dtype: as TensorFlow names it, such as 'uint8' or 'string'.
      shape: sizes, None where any will do; None in place of them for any number of dimensions.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Returns whether an array of this shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted in (None, found) for wanted, found in zip(self.shape, shape, strict=True)
        )

    @property
    def has_rows(self) -> bool:
        """True if the first dimension is of any size."""
        return self.shape is not None and self.shape[:1] == (None,)

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name} must have dtype {self.dtype}"
        # As the errors of the graphs say it: B images, and any other size that is free.
        sizes = [str(size or ("?" if i else "B")) for i, size in enumerate(self.shape)]
        return f"{self.name} must have shape [{', '.join(sizes)}] and dtype {self.dtype}"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of a SavedModel.

    Args:
      name: what the SavedModel calls it.
      inputs: by their names.
      outputs: by their names.
      defaults: of the inputs that can be left out; strings are arrays of objects, bytes.
    """

    name: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    defaults: Mapping[str, np.ndarray]

    @property
    def required(self) -> list[str]:
        """The inputs that cannot be left out."""
        return [name for name in self.inputs if name not in self.defaults]

    @property
    def has_rows(self) -> bool:
        """True if it works row by row, as far as shapes tell: requests can then be run as one."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.has_rows for spec in specs)
