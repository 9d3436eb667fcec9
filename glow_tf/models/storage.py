"""Model directories, with `config.json` and `checkpoints/`, and SavedModels, which hold both config and weights."""

import contextlib
import math
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from glow_tf import description
from glow_tf.arguments import one_of
from glow_tf.config import ModelConfig
from glow_tf.models import variables
from glow_tf.models.flow import Flow
from glow_tf.runtime import json_files, paths, text
from glow_tf.runtime.errors import first_line, reraise_as_oserror
from glow_tf.runtime.files import atomic_write, flush_to_disk
from glow_tf.runtime.runtime import Runtime

# Models of the bundled portraits that ship with the package, keyed by the name that replaces their path.
PRETRAINED = {
    name: pathlib.Path(__file__).parent.parent / "pretrained" / size
    for name, size in (("pretrained", "16x16"), ("pretrained_32", "32x32"))
}
CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"
_INDEX = re.compile(r"ckpt-(\d+)\.index")
_DATA = re.compile(r"ckpt-(\d+)\.data-\d+-of-\d+")
_OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_LISTED = re.compile(rb'ckpt-(\d+)"')
# The first variable of an optimizer, which is the number of updates that it has made.
_UPDATES = re.compile(r"optimizer/[a-z]+_000/")
# Last path components of variables that hold permutation indices.
_INDICES = frozenset({"indices", "permutation"})
# A layer takes about 300 bytes.
_MAX_CONFIG_BYTES = 2**20


def load(path: str | os.PathLike, *, weights: str = "ema", runtime: Runtime | None = None) -> Flow:
    """Loads the flow of a model directory.

    Args:
      path: the `--model_dir` of a training run, a directory written by `save`, a SavedModel, or the name of a model of
        the bundled portraits that ships with the package: `"pretrained"` (16x16 pixels) or `"pretrained_32"` (32x32).
        A directory of your own that is called so is `"./pretrained"`.
      weights: `ema`, the moving average that evaluation and sampling use, if the checkpoint has it; or `raw`. A
        SavedModel has only one kind.
      runtime: device and precision settings, as for `Flow`.

    Raises:
      FileNotFoundError: if there is no model, or no checkpoint yet.
      ValueError: if the checkpoint is damaged or belongs to another configuration, or TensorFlow cannot read from the
        path.

    Examples:
      >>> flow = glow_tf.load("pretrained")
      >>> flow.sample(4, temperature=0.7, seed=1).shape
      TensorShape([4, 16, 16, 3])
    """
    one_of("weights", weights, ("ema", "raw"))
    directory = _directory(path)
    config = load_config(directory)
    if is_saved_model(directory):
        checkpoint = str(directory / "variables" / "variables")
        with _reraise_as_valueerror(f"The weights of the SavedModel {directory} cannot be read"):
            # The saved object has the flow as its attribute `flow`.
            return _read_flow(config, checkpoint, runtime)
    checkpoint = _newest_checkpoint(directory)
    with _reraise_as_valueerror(f"Checkpoint {checkpoint} cannot be read into the model of {directory}"):
        flow = _read_flow(config, checkpoint, runtime)
        if weights == "ema" and _has_averages(checkpoint):
            averages = tf.train.Checkpoint(ema=flow.named_variables(trainable=True))
            restore(averages, checkpoint).assert_existing_objects_matched()
    return flow


def has_averages(path: str | os.PathLike) -> bool:
    """Returns whether the newest checkpoint of a model directory has the moving averages of the weights beside them.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if the checkpoint is damaged.
    """
    checkpoint = _newest_checkpoint(_directory(path))
    with _reraise_as_valueerror(f"Checkpoint {checkpoint} cannot be read"):
        return _has_averages(checkpoint)


def _has_averages(checkpoint: str) -> bool:
    """Returns whether a checkpoint has averages; before the first update, earlier versions stored zeros as such."""
    reader = tf.train.load_checkpoint(checkpoint)
    dtypes = reader.get_variable_to_dtype_map()
    updates = [name for name, dtype in dtypes.items() if _UPDATES.match(name) and dtype == tf.int64]
    return any(name.startswith("ema/") for name in dtypes) and all(reader.get_tensor(name) > 0 for name in updates)


def _newest_checkpoint(directory: pathlib.Path) -> str:
    found, gone = checkpoint_paths(directory), paths_without_index(directory)
    if gone:
        path = gone[max(gone)]
        raise ValueError(
            f"The checkpoint {path} has lost its index, {path}.index: without it its data cannot be read. Restore it "
            "from a backup; or rename the data file, so that the previous checkpoint is read, if there is one."
        )
    if not found:
        raise FileNotFoundError(f"{directory / CHECKPOINTS} holds no checkpoint: has the training begun?")
    return found[max(found)]


def _read_flow(config: ModelConfig, checkpoint: str, runtime: Runtime | None) -> Flow:
    """Reads the flow from a checkpoint that stores it as `flow`, in the dtype that it has there."""
    flow = Flow(config, dtype=check_fits(config, checkpoint), runtime=runtime)
    restore(tf.train.Checkpoint(flow=flow), checkpoint).assert_existing_objects_matched()
    return flow


@contextlib.contextmanager
def _reraise_as_valueerror(what: str) -> Iterator[None]:
    try:
        yield
    except (AssertionError, ValueError, IndexError, tf.errors.OpError) as error:
        raise ValueError(f"{what}: {first_line(error)}") from error


def check_fits(config: ModelConfig, checkpoint: str, dtype: tf.DType | None = None) -> tf.DType:
    """Checks that the `flow` of a checkpoint has the variables of a model, before any memory is allocated for them.

    Args:
      config: the model.
      checkpoint: the checkpoint's path.
      dtype: dtype that its trainable variables must have; by default, all float32 or all float64.

    Returns:
      The dtype of its trainable variables; float32 if there are none.

    Raises:
      ValueError: if this package did not write the checkpoint, or if a variable is missing, unknown, or of another
        shape or dtype; the message names it.
      tf.errors.OpError: if the checkpoint cannot be read.
    """
    reader = tf.train.load_checkpoint(checkpoint)
    found, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    if _OBJECT_GRAPH_KEY not in found:
        raise ValueError("it is not one that this package has written")
    keys = _flow_keys(reader.get_tensor(_OBJECT_GRAPH_KEY))
    unknown = keys.keys() - {"initialized"}
    for path, shape, trainable in variables.parameter_specs(config):
        key = keys.get(path)
        if key not in found:
            raise ValueError(f"it has no {path}, of shape {list(shape)}")
        if tuple(found[key]) != shape:
            raise ValueError(f"{path} has the shape {found[key]} in it, and {list(shape)} by {CONFIG_FILE}")
        if trainable and dtype is None:
            dtype = tf.float64 if dtypes[key] == tf.float64 else tf.float32
        if trainable and dtypes[key] != dtype:
            raise ValueError(f"{path} is {dtypes[key].name} in it, and {dtype.name} is read")
        unknown.discard(path)
    if unknown:
        # Extra variables are as much a sign of another configuration as missing ones.
        raise ValueError(f"it also holds {min(unknown)}")
    return dtype or tf.float32


def _flow_keys(serialized: bytes) -> dict[str, str]:
    """Returns the checkpoint keys of the variables of `flow`, keyed by their paths, from the object graph.

    In a SavedModel, which also has its variables in lists, the keys are named after these lists.
    """
    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized).nodes
    keys: dict[str, str] = {}

    def walk(node, path: str, above: tuple[int, ...]) -> None:
        for attribute in node.attributes:
            keys[path] = attribute.checkpoint_key
        for child in node.children:
            if child.node_id not in above:
                below = f"{path}/{child.local_name}" if path else child.local_name
                walk(nodes[child.node_id], below, (*above, child.node_id))

    for child in nodes[0].children:
        if child.local_name == "flow":
            walk(nodes[child.node_id], "", (0, child.node_id))
    return keys


def is_saved_model(directory: str | os.PathLike) -> bool:
    """Returns whether a directory is a SavedModel."""
    return (pathlib.Path(directory) / "saved_model.pb").is_file()


def restore(checkpoint: tf.train.Checkpoint, path: str):
    """Restores a checkpoint and returns its status, as `checkpoint.restore(path)` does; also reads version 0.1.0.

    Version 0.1.0 stored permutation indices as int32, which TensorFlow would not restore to int64 variables. Other
    contents of the checkpoint are ignored, without TensorFlow's warnings of one line per variable.
    """
    reader = tf.train.load_checkpoint(path)
    dtypes = reader.get_variable_to_dtype_map()
    indices = {name for name in dtypes if name.partition("/.ATTRIBUTES/")[0].rpartition("/")[2] in _INDICES}
    old = {name for name in indices if dtypes[name] == tf.int32}
    if not old:
        return checkpoint.restore(path).expect_partial()
    tensors = {name: tf.constant(reader.get_tensor(name)) for name in dtypes}
    tensors.update({name: tf.cast(tensors[name], tf.int64) for name in old})
    with tempfile.TemporaryDirectory() as folder:
        converted = f"{folder}/converted"
        tf.raw_ops.SaveV2(
            prefix=converted,
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        return checkpoint.restore(converted).expect_partial()


def checkpoint_paths(directory: str | os.PathLike) -> dict[int, str]:
    """Returns the checkpoint paths of a model directory, keyed by step in ascending order.

    They are found by their files, as TensorFlow's list of them is a separate file, which a crash can leave outdated.
    """
    return _matching_paths(directory, _INDEX)


def paths_without_index(directory: str | os.PathLike) -> dict[int, str]:
    """Returns the checkpoints newer than all of `checkpoint_paths` that have data but have lost their index.

    An interrupted write also leaves data without an index, but its checkpoint is not in TensorFlow's list.
    """
    newest = max(checkpoint_paths(directory), default=-1)
    found = {step: path for step, path in _matching_paths(directory, _DATA).items() if step > newest}
    listed = pathlib.Path(directory) / CHECKPOINTS / "checkpoint"
    if not found or not listed.is_file():
        return {}
    # Not parsed by TensorFlow, which logs four lines about a list that it cannot parse.
    steps = {int(number) for number in _LISTED.findall(listed.read_bytes())}
    return {step: path for step, path in found.items() if step in steps}


def _matching_paths(directory: str | os.PathLike, pattern: re.Pattern) -> dict[int, str]:
    folder = pathlib.Path(directory) / CHECKPOINTS
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    steps = sorted({int(match[1]) for match in map(pattern.fullmatch, names) if match})
    return {step: str(folder / f"ckpt-{step}") for step in steps}


def load_config(path: str | os.PathLike) -> ModelConfig:
    """Loads the config of a model; takes the same paths as `load`.

    Raises:
      FileNotFoundError: if there is no model.
      ValueError: if the config cannot be read, or this package did not export the SavedModel.
    """
    file, fields = _read_config(path)
    try:
        config = ModelConfig.from_fields(fields)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    _check_image_fits(config, file)
    return config


def own_modules(path: str | os.PathLike) -> list[str]:
    """Returns the user modules whose classes `load_config` needs; raises the same errors."""
    return description.modules(_read_config(path)[1])


def _read_config(path: str | os.PathLike) -> tuple[pathlib.Path, dict]:
    directory = _directory(path)
    if is_saved_model(directory):
        file = directory / "assets" / CONFIG_FILE
        if not file.is_file():
            raise ValueError(f"{directory} is a SavedModel, but not one that this package has exported.")
    else:
        file = directory / CONFIG_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{directory} is not a model directory: it has no {CONFIG_FILE}.")
    return file, json_files.read_object(file, _MAX_CONFIG_BYTES)


def _check_image_fits(config: ModelConfig, file: pathlib.Path) -> None:
    """Checks that an image fits in memory, as no variable of a fully convolutional flow depends on the image size."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    image = 4 * config.dimensions
    if image > memory:
        raise ValueError(
            f"{file}: an image of image_shape={config.image_shape} has {image / 1e9:,.0f} GB as float32, more than the "
            f"{memory / 1e9:,.0f} GB of memory here."
        )


def _directory(path: str | os.PathLike) -> pathlib.Path:
    # Only the name itself is one: `pathlib.Path("./pretrained")` is a directory, although it reads "pretrained".
    if isinstance(path, str) and path in PRETRAINED:
        return PRETRAINED[path]
    return pathlib.Path(paths.for_tensorflow(path, "The model"))


def check_not_pretrained(path: str | os.PathLike, what: str) -> None:
    """Checks that a model can be written to a path and read from it again.

    Args:
      path: the path.
      what: its name in the error, such as `--model_dir`.

    Raises:
      ValueError: if it is the name of a model that ships with the package, which would be read in its place.
    """
    if isinstance(path, str) and path in PRETRAINED:
        raise ValueError(
            f"{what}={path} is the name of a model that ships with the package, which would be read in place of yours: "
            f"choose another name, or ./{path}."
        )


def save_config(config: ModelConfig, directory: str | os.PathLike) -> None:
    """Writes `config.json` atomically."""
    with atomic_write(pathlib.Path(directory) / CONFIG_FILE) as temporary:
        text.write(temporary, config.to_json() + "\n")


def save(flow: Flow, path: str | os.PathLike, *, step: int = 1) -> None:
    """Writes a flow to a model directory that `load` reads: its config, and its weights as checkpoint `step`.

    It replaces a model that this function has written there, but neither a training run nor a SavedModel.

    Raises:
      OSError: if the directory cannot be written.
      ValueError: if TensorFlow cannot write to the path, `load` takes it for the name of a bundled model, or it holds
        a training run or a SavedModel.
    """
    check_not_pretrained(path, "path")
    directory = pathlib.Path(paths.for_tensorflow(path, "The model"))
    _check_replaceable(directory)
    save_config(flow.config, directory)
    remove_unfinished(directory)
    checkpoint = tf.train.Checkpoint(flow=flow)
    manager = tf.train.CheckpointManager(checkpoint, str(directory / CHECKPOINTS), max_to_keep=1)
    with reraise_as_oserror(directory):
        save_checkpoint(manager, step)


def _check_replaceable(directory: pathlib.Path) -> None:
    """Checks that a directory holds nothing that `save` must not delete, or that `load` would still read after it.

    Raises:
      ValueError: if it is a SavedModel, or has a checkpoint of a training run or one that cannot be read.
    """
    if is_saved_model(directory):
        raise ValueError(f"{directory} is a SavedModel: choose another directory, or write it by export_saved_model.")
    for checkpoint in checkpoint_paths(directory).values():
        with _reraise_as_valueerror(f"{checkpoint} cannot be read, and is not overwritten: choose another directory"):
            names = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
        if any(name.startswith("run/") for name in names):
            raise ValueError(f"{directory} holds a training run, which is not overwritten: choose another directory.")


def save_checkpoint(manager: tf.train.CheckpointManager, step: int) -> str:
    """Saves checkpoint `step`, syncs it to disk, then deletes those no longer kept, and returns its path."""
    # The manager deletes them in a callback of its own, which runs after the given ones.
    options = tf.train.CheckpointOptions(experimental_write_callbacks=[flush_checkpoint])
    return manager.save(checkpoint_number=step, options=options)


def flush_checkpoint(path: str) -> None:
    """Syncs the files of a checkpoint to disk."""
    prefix = pathlib.Path(path)
    for file in [*prefix.parent.glob(f"{prefix.name}.*"), prefix.parent]:
        flush_to_disk(file)


def remove_unfinished(directory: str | os.PathLike) -> None:
    """Removes the files that an interrupted checkpoint write left in a model directory."""
    folder, steps = pathlib.Path(directory) / CHECKPOINTS, checkpoint_paths(directory)
    for path in [*folder.glob("*_temp"), *folder.glob("*.tempstate*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for data in folder.glob("ckpt-*.data-*"):
        match = _DATA.fullmatch(data.name)
        if match and int(match[1]) not in steps:
            data.unlink(missing_ok=True)
