"""Argument checks, whose errors name the argument and the valid values."""

import numbers
from typing import Any


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Checks that a value is one of the given choices.

    Raises:
      ValueError: if it is not.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}.")


def is_int(value: Any) -> bool:
    """Returns whether a value is an integer, Python's or NumPy's, and not a boolean."""
    # bool is a subclass of int; NumPy's integers are not ints.
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def at_least(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Checks that a value is an integer of at least `least`, and of at most `most` if given.

    Raises:
      ValueError: if it is not.
    """
    if not is_int(value) or value < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}.")
    if most is not None and value > most:
        raise ValueError(f"{name}={value!r} must be at most {most}.")
