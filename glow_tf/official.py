"""Variable names in checkpoints of the official Glow code (github.com/openai/glow)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class OfficialVariable:
    """Names and conversion of a variable in a checkpoint of the official code.

    Attributes:
      names: names in the checkpoint; the values of a level's steps are stacked.
      convert: maps the checkpoint's value, stacked or single, to the value or nest of values in this package.
      stacked: whether there is one name per step.
    """

    names: tuple[str, ...]
    convert: Callable[[np.ndarray], Any] = np.asarray
    stacked: bool = False


def zero_layer_variables(path: str, name: str, kernel: Callable = np.asarray) -> dict[str, OfficialVariable]:
    """Returns the variables of a zero-initialised layer `name` of the checkpoint; `kernel` converts its kernel."""
    prefix = f"{path}/" if path else ""
    return {
        f"{prefix}kernel": OfficialVariable((f"{name}/W",), kernel),
        f"{prefix}bias": OfficialVariable((f"{name}/b",), np.ravel),
        f"{prefix}logs": OfficialVariable((f"{name}/logs",), np.ravel),
    }


def step_variable(path: str, names: list[str], convert: Callable = np.asarray) -> dict[str, OfficialVariable]:
    """Returns a variable of a level's steps, called `names` in the checkpoint and converted by `convert`."""
    return {path: OfficialVariable(tuple(names), convert, stacked=True)}


def actnorm_variables(path: str, names: list[str]) -> dict[str, OfficialVariable]:
    """Returns the variables of the actnorms in a level's steps, called `names` in the checkpoint."""
    bias = step_variable(f"{path}/bias", [f"{name}_center/b" for name in names], raveled)
    return bias | step_variable(f"{path}/logs", [f"{name}_scale/logs" for name in names], raveled)


def raveled(values: np.ndarray) -> np.ndarray:
    """Returns stacked values [K, ...] as [K, n]."""
    return np.reshape(values, [len(values), -1])
