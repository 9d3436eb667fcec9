"""Loads SavedModels with plain TensorFlow."""

import math
import os
import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from glow_tf.runtime.errors import first_line
from glow_tf.serving.signature import Signature, Spec

_FILE = "saved_model.pb"
_TAG = "serve"


class Model:
    """A SavedModel with its signatures, ready to run.

    Attributes:
      name: name in requests.
      version: version number, from the name of its folder.
      path: folder of the SavedModel.
      signatures: signatures by name.
      functions: function of each signature, which maps tensors keyed by input name to tensors keyed by output name.
      largest_tensor: number of values for each image in the largest tensor of its graphs; 0 if none is for each image.

    Args:
      path: a SavedModel, or a folder of numbered SavedModels, of which the one with the highest number is loaded.
      name: name in requests.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it cannot be loaded or has no signatures, or the name is not allowed in a URL.
    """

    def __init__(self, path: str | os.PathLike, name: str = "glow"):
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise ValueError(f"The name {name!r} must be of letters, digits, '_', '.' and '-', as it stands in URLs.")
        self.name = name
        self.path, self.version = find(pathlib.Path(path))
        try:
            graph = _graph(self.path)
            self._definitions = graph.signature_def
            self.largest_tensor = _largest_tensor(graph)
            # Kept alive, as the loaded object owns the variables.
            self._loaded = tf.saved_model.load(str(self.path), tags=[_TAG])
        except Exception as error:
            # TensorFlow raises many kinds of exceptions for damaged files.
            raise ValueError(f"{self.path} cannot be loaded as a SavedModel: {first_line(error)}") from error
        self.functions = dict(self._loaded.signatures)
        self.signatures = {name: _signature(name, self._definitions[name]) for name in sorted(self.functions)}
        if not self.signatures:
            raise ValueError(f"{self.path} has no signatures, so there is nothing to serve.")

    def status(self) -> dict[str, Any]:
        """Returns the JSON of a `GetModelStatusResponse`."""
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(self.version), "state": "AVAILABLE", "status": status}]}

    def metadata(self) -> dict[str, Any]:
        """Returns the JSON of a `GetModelMetadataResponse`, whose `signature_def` is that of a `SignatureDefMap`."""
        definitions = {
            name: json_format.MessageToDict(
                definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for name, definition in sorted(self._definitions.items())
        }
        return {
            "model_spec": {"name": self.name, "signature_name": "", "version": str(self.version)},
            "metadata": {"signature_def": {"signature_def": definitions}},
        }


def find(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Returns the folder of the SavedModel at a path, and its version: 1 unless the folder is named by a number.

    Raises:
      FileNotFoundError: if there is none.
    """
    if (path / _FILE).is_file():
        name = path.resolve().name
        return path, int(name) if _is_number(name) else 1
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not there; glow export writes SavedModels.")
    versions = [folder for folder in path.iterdir() if _is_number(folder.name) and (folder / _FILE).is_file()]
    if not versions:
        raise FileNotFoundError(f"{path} is neither a SavedModel nor a folder of SavedModels named by numbers.")
    newest = max(versions, key=lambda folder: int(folder.name))
    return newest, int(newest.name)


def _is_number(name: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", name) is not None


def _graph(path: pathlib.Path) -> meta_graph_pb2.MetaGraphDef:
    """Reads the serving graph from the file, as `tf.saved_model.load` does not expose input defaults."""
    content = saved_model_pb2.SavedModel.FromString((path / _FILE).read_bytes())
    for graph in content.meta_graphs:
        if list(graph.meta_info_def.tags) == [_TAG]:
            return graph
    raise ValueError(f"it has no graph with the tag {_TAG!r}.")


def _largest_tensor(graph: meta_graph_pb2.MetaGraphDef) -> int:
    """Returns the largest size of a row of the tensors whose first dimension alone is unknown, mostly hidden layers."""
    shapes = (
        [dimension.size for dimension in shape.dim]
        for function in graph.graph_def.library.function
        for node in function.node_def
        for shape in node.attr["_output_shapes"].list.shape
    )
    return max((math.prod(shape[1:]) for shape in shapes if shape[:1] == [-1] and -1 not in shape[1:]), default=0)


def _signature(name: str, definition: meta_graph_pb2.SignatureDef) -> Signature:
    return Signature(
        name,
        {key: _spec(key, info) for key, info in sorted(definition.inputs.items())},
        {key: _spec(key, info) for key, info in sorted(definition.outputs.items())},
        {key: np.asarray(tf.make_ndarray(value)) for key, value in definition.defaults.items()},
    )


def _spec(name: str, info: meta_graph_pb2.TensorInfo) -> Spec:
    shape = tf.TensorShape(info.tensor_shape)
    return Spec(name, tf.as_dtype(info.dtype).name, None if shape.rank is None else tuple(shape.as_list()))
