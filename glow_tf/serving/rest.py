"""Requests and replies of the predict method of TensorFlow Serving's REST API.

A request names a signature and contains its inputs in one of two formats; the reply has the same format:

  rows      {"instances": [...]}  a list, an entry for each row  ->  {"predictions": [...]}
  columns   {"inputs": {...}}     each input as a whole          ->  {"outputs": {...}}

An entry, like the value of `inputs`, is an object of input values by name, or the value itself if the signature needs
only one input. Replies omit the name of a single output. See https://www.tensorflow.org/tfx/serving/api_rest.
"""

import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from glow_tf.serving.errors import RequestError
from glow_tf.serving.signature import Signature
from glow_tf.serving.tensors import CONSTANTS, is_bytes, to_array, to_json

DEFAULT_SIGNATURE = "serving_default"

# Largest number of values to convert at once: Python's objects and text take up to 200 bytes for each.
_VALUES_AT_ONCE = 1 << 16


@dataclasses.dataclass(frozen=True)
class Request:
    """A parsed request.

    Args:
      signature: the signature to run.
      inputs: all of its inputs, with defaults for those left out.
      by_rows: whether it was in the row format.
    """

    signature: Signature
    inputs: Mapping[str, np.ndarray]
    by_rows: bool

    @property
    def rows(self) -> int:
        """Size of the first dimension of the inputs that have one; the largest if they differ."""
        return max((len(value) for value in self.inputs.values() if value.ndim), default=1)

    @property
    def images(self) -> int:
        """Number of images: the rows, such as labels, or `num` if that is more; times `steps` + 1 if it has steps."""
        return max(1, self.rows, self._whole_number("num")) * max(1, self._whole_number("steps") + 1)

    @property
    def can_be_batched(self) -> bool:
        """True if its rows can run in a batch with those of other requests."""
        return self.signature.has_rows and {len(value) for value in self.inputs.values()} == {self.rows}

    def _whole_number(self, name: str) -> int:
        value = self.inputs.get(name)
        return int(value) if value is not None and value.ndim == 0 and value.dtype.kind in "iu" else 0


def parse(body: bytes, signatures: Mapping[str, Signature]) -> Request:
    """Parses a request.

    Args:
      body: JSON.
      signatures: signatures of the model.

    Raises:
      RequestError: if it is invalid, or its inputs do not match the signature.
    """
    document = _document(body)
    name = document.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise RequestError("signature_name must be a string.")
    name = name or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise RequestError(f"There is no signature {name[:100]!r}; there are {', '.join(sorted(signatures))}.")
    formats = {"instances", "inputs"} & set(document)
    if len(formats) != 1:
        raise RequestError("A request must have either 'instances', a list of rows, or 'inputs'.")
    by_rows = "instances" in formats
    read = _from_rows if by_rows else _from_columns
    given = {
        name: to_array(value, signature.inputs[name])
        for name, value in read(document[formats.pop()], signature).items()
    }
    for name, value in given.items():
        if not value.size and name not in signature.defaults:
            raise RequestError(f"{name} is empty.")
    return Request(signature, {**signature.defaults, **given}, by_rows)


def reply(outputs: Mapping[str, np.ndarray], by_rows: bool) -> bytes:
    """Writes the reply to a request, a part at a time, so that it takes little more memory than its text.

    Args:
      outputs: outputs by name.
      by_rows: whether the request was in the row format.

    Returns:
      JSON.

    Raises:
      RequestError: if the outputs have no rows.
    """
    leading = {value.shape[:1] for value in outputs.values()}
    if by_rows and (len(leading) != 1 or leading == {()}):
        raise RequestError("The outputs do not have a row for each instance; use the column format, 'inputs'.")
    names = sorted(outputs)
    file = io.BytesIO()
    file.write(b'{"predictions":' if by_rows else b'{"outputs":')
    if len(names) == 1:
        file.writelines(_array_text(outputs[names[0]], names[0]))
    elif by_rows:
        file.writelines(_rows_text({name: outputs[name] for name in names}))
    else:
        for i, name in enumerate(names):
            file.write(b"%s%s:" % (b"," if i else b"{", _text(name)))
            file.writelines(_array_text(outputs[name], name))
        file.write(b"}" if names else b"{}")
    file.write(b"}")
    return file.getvalue()


def _array_text(array: np.ndarray, name: str) -> Iterator[bytes]:
    """Yields the JSON of an output in parts."""
    if array.size <= _VALUES_AT_ONCE:
        yield _text(to_json(array, name))
        return
    rows_at_once = _VALUES_AT_ONCE // (array.size // len(array))
    yield b"["
    for start in range(0, len(array), max(1, rows_at_once)):
        if start:
            yield b","
        if rows_at_once:
            yield _text(to_json(array[start : start + rows_at_once], name))[1:-1]
        else:
            yield from _array_text(array[start], name)
    yield b"]"


def _rows_text(outputs: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """Yields the JSON of outputs in parts, as a list with an object for each row."""
    count = len(next(iter(outputs.values())))
    rows_at_once = max(1, _VALUES_AT_ONCE * count // max(1, sum(value.size for value in outputs.values())))
    yield b"["
    for start in range(0, count, rows_at_once):
        if start:
            yield b","
        values = [to_json(value[start : start + rows_at_once], name) for name, value in outputs.items()]
        yield _text([dict(zip(outputs, row, strict=True)) for row in zip(*values, strict=True)])[1:-1]
    yield b"]"


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode(), parse_constant=CONSTANTS.__getitem__)
    except RecursionError:
        raise RequestError("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise RequestError(f"The request is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise RequestError('A request must be a JSON object, such as {"instances": [...]}.')
    return document


def _from_rows(instances: Any, signature: Signature) -> dict[str, Any]:
    """Returns the value of each given input: a list with an entry for each instance."""
    whole = [name for name in signature.required if signature.inputs[name].shape == ()]
    if whole or not signature.inputs:
        reason = f"{whole[0]} is one value for all rows" if whole else "it has no inputs"
        raise RequestError(f"{signature.name} needs the column format, 'inputs', as {reason}.")
    if not isinstance(instances, list) or not instances:
        raise RequestError("'instances' must be a list with an entry for each row.")
    named = [isinstance(entry, dict) and not is_bytes(entry) for entry in instances]
    if not any(named):
        return {_only(signature, "instances"): instances}
    if not all(named):
        raise RequestError("'instances' must all be objects, or none.")
    names = set(instances[0])
    for number, entry in enumerate(instances):
        if set(entry) != names:
            differing = sorted(map(_quoted, names ^ set(entry)))
            shown = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
            raise RequestError(f"Instances must name the same inputs; 0 and {number} differ in {shown}.")
    _require_names(names, signature)
    for name in names:
        if signature.inputs[name].shape == ():
            raise RequestError(f"{name} is one value for all rows; use the column format, 'inputs', or leave it out.")
    return {name: [entry[name] for entry in instances] for name in instances[0]}


def _from_columns(inputs: Any, signature: Signature) -> dict[str, Any]:
    """Returns the value of each given input."""
    if not isinstance(inputs, dict) or is_bytes(inputs):
        return {_only(signature, "inputs"): inputs}
    _require_names(inputs, signature)
    return inputs


def _only(signature: Signature, key: str) -> str:
    """Returns the name of the input that an unnamed value belongs to."""
    needed = signature.required if len(signature.inputs) > 1 else list(signature.inputs)
    if len(needed) != 1:
        names = ", ".join(signature.inputs) or "none"
        raise RequestError(f"'{key}' must name the inputs of {signature.name}, as objects do; they are {names}.")
    return needed[0]


def _require_names(names: Iterable[str], signature: Signature) -> None:
    unknown = sorted(map(_quoted, set(names) - set(signature.inputs)))
    if unknown:
        known = ", ".join(signature.inputs) or "none"
        raise RequestError(f"{signature.name} has no input {unknown[0]}; its inputs are {known}.")
    missing = [name for name in signature.required if name not in names]
    if missing:
        raise RequestError(f"{signature.name} needs the input {', '.join(missing)}.")


def _quoted(name: str) -> str:
    return repr(name[:100])
