"""Reading of JSON files that may have been edited or damaged."""

import json
import os
import pathlib
from typing import Any, NoReturn


def parse(content: str | bytes) -> Any:
    """Parses JSON; bytes are in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Raises:
      ValueError: if it is not JSON, repeats a field of an object, is nested too deeply, or has a non-finite number,
        which JSON does not allow.
    """
    try:
        return json.loads(content, object_pairs_hook=_object, parse_constant=_not_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.object[error.start]:#04x} at position {error.start} is not UTF-8") from error


def read_object(path: str | os.PathLike, most_bytes: int) -> dict[str, Any]:
    """Reads the object in a JSON file.

    Raises:
      FileNotFoundError: if it does not exist.
      OSError: if it cannot be read.
      ValueError: if it is not a file, is larger than `most_bytes`, or is not a JSON object; the message names the file.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{path} is not a file.")
    if size > most_bytes:
        raise ValueError(f"{path} has {size:,} bytes, more than {most_bytes:,}: it must be another file.")
    try:
        found = parse(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object, {{...}}, and not {str(found)[:40]!r}.")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"{twice!r} is repeated in one object")
    return found


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if abs(number) < float("inf") else _not_finite(text)
