"""Converts arrays from and to JSON by the conventions of TensorFlow Serving's REST API.

A tensor is a nested list of numbers, booleans or strings, or a single value. `NaN`, `Infinity` and `-Infinity` are
numbers. Binary strings are objects, {"b64": "..."}. Nothing is converted silently: an integer input does not accept
1.0, and a float input no number beyond the range of its dtype.
"""

import base64
import itertools
from typing import Any

import numpy as np

from glow_tf.serving.errors import RequestError
from glow_tf.serving.signature import Spec

# Compared by identity, to tell these tokens in the text from numbers that overflow.
CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FLOATS = ("float16", "float32", "float64")
_KINDS = {bool: "a boolean", int: "a whole number", float: "a number", str: "a string", dict: "an object"}


def is_bytes(value: Any) -> bool:
    """Returns whether a JSON value represents bytes: {"b64": "..."}."""
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def to_array(value: Any, spec: Spec) -> np.ndarray:
    """Converts a JSON value to an array of the dtype and shape of `spec`.

    Args:
      value: parsed JSON, with the entries of `CONSTANTS` for the tokens of those names.
      spec: specification of an input.

    Returns:
      The array; for strings, an object array of bytes.

    Raises:
      RequestError: if the value does not match, or is ragged. The message names the input.
    """
    leaves, shape = _flattened(value, spec)
    if not spec.fits(shape):
        raise RequestError(f"{spec}; the shape found is [{', '.join(map(str, shape))}].")
    if spec.dtype in _INTEGERS:
        array = _integers(leaves, spec)
    elif spec.dtype in _FLOATS:
        array = _floats(leaves, spec)
    elif spec.dtype == "bool":
        _require_kinds(leaves, spec, bool)
        array = np.array(leaves, bool)
    elif spec.dtype == "string":
        _require_kinds(leaves, spec, str, dict)
        array = np.array([_bytes(leaf, spec) for leaf in leaves], object)
    else:
        raise RequestError(f"{spec}, which has no form in JSON.")
    return array.reshape(shape)


def to_json(array: np.ndarray, name: str) -> Any:
    """Converts an array to a value for `json.dumps`, which writes non-finite numbers as NaN, Infinity and -Infinity.

    Args:
      array: numbers, booleans or bytes objects.
      name: name of the output; if it ends in `_bytes`, strings are binary and become {"b64": "..."}.

    Raises:
      RequestError: if the dtype cannot be represented in JSON.
    """
    if array.dtype == object:
        flat = [_text(value, name) for value in array.ravel()]
        return np.array(flat, object).reshape(array.shape).tolist()
    # Dtypes that are not NumPy's own, such as bfloat16.
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise RequestError(f"The output {name} has dtype {array.dtype}, which has no form in JSON.")
    if array.dtype.kind == "f" and array.dtype != np.float64:
        # The shortest decimal form of a float32: converted to float64 directly, 0.1 would be 0.10000000149011612.
        array = array.astype("U").astype(np.float64)
    return array.tolist()


def _flattened(value: Any, spec: Spec) -> tuple[list, tuple[int, ...]]:
    """Returns the leaves and shape of a nested list; works by level, as lists of images are long but not deep."""
    level, shape = [value], []
    while level and isinstance(level[0], list):
        sizes = set(map(len, level)) if _kinds(level) == {list} else ()
        if len(sizes) != 1:
            raise RequestError(f"{spec}; the list found is ragged in dimension {len(shape)}.")
        shape.append(*sizes)
        level = list(itertools.chain.from_iterable(level))
    if list in _kinds(level):
        raise RequestError(f"{spec}; the list found is ragged in dimension {len(shape)}.")
    return level, tuple(shape)


def _kinds(leaves: list) -> set[type]:
    return set(map(type, leaves))


def _require_kinds(leaves: list, spec: Spec, *kinds: type) -> None:
    wrong = _kinds(leaves) - set(kinds)
    if wrong:
        leaf = next(leaf for leaf in leaves if type(leaf) in wrong)
        raise RequestError(f"{spec}; {_shown(leaf)} is {_KINDS.get(type(leaf), 'no value')}.")


def _integers(leaves: list[int], spec: Spec) -> np.ndarray:
    _require_kinds(leaves, spec, int)
    limits = np.iinfo(spec.dtype)
    for leaf in (min(leaves, default=0), max(leaves, default=0)):
        if not limits.min <= leaf <= limits.max:
            raise RequestError(f"{spec}; {_shown(leaf)} is not between {limits.min} and {limits.max}.")
    return np.array(leaves, spec.dtype)


def _floats(leaves: list[float], spec: Spec) -> np.ndarray:
    _require_kinds(leaves, spec, int, float)
    # Beyond this, not every integer is exact in the dtype.
    limit = 2 ** (np.finfo(spec.dtype).nmant + 1)
    inexact = [leaf for leaf in leaves if type(leaf) is int and not -limit < leaf < limit]
    if inexact:
        raise RequestError(f"{spec}; {_shown(inexact[0])} cannot be converted without loss.")
    with np.errstate(over="ignore"):
        array = np.array(leaves, np.float64).astype(spec.dtype)
    if not np.isfinite(array).all():
        tokens = {id(constant) for constant in CONSTANTS.values()}
        for i in np.flatnonzero(np.isinf(array)):
            if id(leaves[i]) not in tokens:
                raise RequestError(f"{spec}; a number, {_shown(leaves[i])}, is too large for it.")
    return array


def _bytes(leaf: str | dict, spec: Spec) -> bytes:
    if isinstance(leaf, str):
        try:
            return leaf.encode()
        except UnicodeEncodeError:
            raise RequestError(f"{spec.name} has a string that is not valid Unicode.") from None
    if not is_bytes(leaf):
        raise RequestError(f'{spec}; an object must be {{"b64": "..."}}, of nothing but base64; found {_shown(leaf)}.')
    text = "".join(leaf["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise RequestError(f"{spec.name} has bad base64: {_shown(leaf['b64'])}.") from None


def _text(value: bytes, name: str) -> str | dict[str, str]:
    if not name.endswith("_bytes"):
        try:
            return value.decode()
        except UnicodeDecodeError:
            # JSON strings are Unicode: other bytes are sent in base64.
            pass
    return {"b64": base64.b64encode(value).decode()}


def _shown(value: Any) -> str:
    # Formatting a very long number would itself fail.
    if type(value) is int and value.bit_length() > 128:
        return "a number of more than 128 bits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
