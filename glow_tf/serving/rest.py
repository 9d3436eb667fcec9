"""Requests and replies of the predict method of TensorFlow Serving's REST API.

A request names a signature and contains its inputs in one of two formats; the reply has the same format:

  rows      {"instances": [...]}  a list, an entry for each row  ->  {"predictions": [...]}
  columns   {"inputs": {...}}     each input as a whole          ->  {"outputs": {...}}

An entry, like the value of `inputs`, is an object of input values by name, or the value itself if the signature needs
only one input. Replies omit the name of a single output. See https://www.tensorflow.org/tfx/serving/api_rest.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from glow_tf.serving.signature import RequestError, Signature
from glow_tf.serving.tensors import CONSTANTS, is_bytes, to_array, to_json

DEFAULT_SIGNATURE = "serving_default"

# Scalar inputs that set how many images a request makes, from each row or in total.
_COUNTS = ("num", "steps")


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
        """Number of images: the rows times the images to make from each."""
        counts = [self.inputs[name] for name in _COUNTS if name in self.inputs]
        return max(1, self.rows) * math.prod(max(1, int(count)) for count in counts if count.dtype.kind in "iu")

    @property
    def can_be_batched(self) -> bool:
        """True if its rows can run in a batch with those of other requests."""
        return self.signature.has_rows and {len(value) for value in self.inputs.values()} == {self.rows}


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
    if (name or DEFAULT_SIGNATURE) not in signatures:
        raise RequestError(f"There is no signature {name[:100]!r}; there are {', '.join(sorted(signatures))}.")
    signature = signatures[name or DEFAULT_SIGNATURE]
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
    """Writes the reply to a request.

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
    values = {name: to_json(outputs[name], name) for name in sorted(outputs)}
    if len(values) == 1:
        (content,) = values.values()
    elif by_rows:
        content = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        content = values
    return json.dumps({"predictions" if by_rows else "outputs": content}, separators=(",", ":")).encode()


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode(), parse_constant=CONSTANTS.__getitem__)
    except RecursionError:
        raise RequestError("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise RequestError(f"The request is no JSON: {error}.") from None
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
            differing = ", ".join(sorted(map(_quoted, names ^ set(entry))))
            raise RequestError(f"Instances must name the same inputs; 0 and {number} differ in {differing}.")
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
