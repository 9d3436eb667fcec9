"""Specifications of parameters, whose shapes are known before their initial values take any memory."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Nest = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a layer or a network.

    Attributes:
      shape: its shape.
      initial: returns the initial value. It is called once for each parameter of a nest, in order, so that random
        numbers are drawn in that order.
      trainable: whether it is trained; others are set only once.
    """

    shape: tuple[int, ...]
    initial: Callable[[], np.ndarray]
    trainable: bool = True


def zeros(*shape: int) -> Parameter:
    """Returns a parameter of zeros."""
    return Parameter(shape, lambda: np.zeros(shape))


def ones(*shape: int) -> Parameter:
    """Returns a parameter of ones."""
    return Parameter(shape, lambda: np.ones(shape))


def normal(rng: np.random.Generator, stddev: float, shape: tuple[int, ...]) -> Parameter:
    """Returns a parameter drawn from N(0, stddev^2).

    It is drawn in float32, so that a seed gives the same values for flows of any dtype.
    """

    def draw() -> np.ndarray:
        values = rng.standard_normal(shape, dtype=np.float32)
        values *= stddev
        return values

    return Parameter(shape, draw)


def linear(rng: np.random.Generator, shape: tuple[int, ...], gain: float = 1.0) -> dict[str, Parameter]:
    """Returns the parameters of linear layers whose output variance is gain^2 times their input variance.

    Args:
      rng: source of random numbers.
      shape: shape of the kernels, [depth, ..., C_in, C_out].
      gain: ratio of the standard deviations of outputs and inputs.
    """
    stddev = gain / math.sqrt(math.prod(shape[1:-1]))
    return {"kernel": normal(rng, stddev, shape), "bias": zeros(shape[0], shape[-1])}


def zero_linear(*shape: int) -> dict[str, Parameter]:
    """Returns the parameters of zero-initialised linear layers: kernels [depth, ..., C_in, C_out], and biases."""
    return {"kernel": zeros(*shape), "bias": zeros(shape[0], shape[-1])}


def jointly(
    initial: Callable[[], Mapping[str, np.ndarray]], shapes: Mapping[str, tuple[int, ...]], fixed: tuple[str, ...] = ()
) -> dict[str, Parameter]:
    """Returns named parameters whose initial values come from one function; those in `fixed` are not trained."""
    made = functools.cache(initial)
    return {name: Parameter(shape, lambda n=name: made()[n], name not in fixed) for name, shape in shapes.items()}


def actnorm(*shape: int) -> dict[str, Parameter]:
    """Returns the bias and log-scale of an actnorm, both zero: [*shape] each."""
    return {"bias": zeros(*shape), "logs": zeros(*shape)}


def initial_value(parameter: Parameter | np.ndarray) -> np.ndarray:
    """Returns the initial value of a parameter; an array, a list or a number is its own."""
    return parameter.initial() if isinstance(parameter, Parameter) else np.asarray(parameter)


def is_trainable(parameter: Parameter | np.ndarray) -> bool:
    """Returns whether a parameter is trained; an array is trained if it holds floats."""
    if isinstance(parameter, Parameter):
        return parameter.trainable
    return np.issubdtype(np.asarray(parameter).dtype, np.floating)


def flatten_nest(nest: Nest, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and value of each leaf of a nest; paths, such as `network/conv1/kernel`, begin with `prefix`."""
    for name, value in nest.items():
        path = f"{prefix}/{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from flatten_nest(value, path)
        else:
            yield path, value


def unflatten_nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nest with the given leaves by path, the inverse of `flatten_nest`."""
    nest: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *names, last = path.split("/")
        parent = nest
        for name in names:
            parent = parent.setdefault(name, {})
        parent[last] = leaf
    return nest
