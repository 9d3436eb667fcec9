"""Model directories: `config.json` beside `checkpoints/`; and SavedModels, which hold both."""

import contextlib
import errno
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models import layers
from glow_tf.models.flow import Flow
from glow_tf.runtime import paths

PRETRAINED = pathlib.Path(__file__).parent.parent / "pretrained"
CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"
_INDEX = re.compile(r"ckpt-(\d+)\.index")


def load(path: str | os.PathLike, *, weights: str = "ema") -> Flow:
    """The flow of a model directory.

    Args:
      path: the `--model_dir` of a training run, a directory written by `save`, a SavedModel, or `"pretrained"` for the
        model of the bundled data set that comes with the package.
      weights: `ema`, the moving average, which evaluation and samples use, where the checkpoint has it; or `raw`.
        A SavedModel has one kind alone.

    Raises:
      FileNotFoundError: if there is no model, or no checkpoint yet.
      ValueError: if the checkpoint is damaged or belongs to another configuration, or TensorFlow cannot read from such
        a path.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r} is not 'ema' or 'raw'.")
    directory = _directory(path)
    if is_saved_model(directory):
        return _load_saved_model(directory)
    flow = Flow(load_config(directory))
    checkpoints = checkpoint_paths(directory)
    if not checkpoints:
        raise FileNotFoundError(f"{directory / CHECKPOINTS} holds no checkpoint: has the training begun?")
    checkpoint = checkpoints[max(checkpoints)]
    try:
        names = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
        restore(tf.train.Checkpoint(flow=flow), checkpoint).assert_existing_objects_matched().expect_partial()
        # Variables the model lacks are as much a sign of another configuration as missing ones.
        known = {f"flow/{path}" for path in (*flow.named_variables(), "initialized")}
        unknown = {name.partition("/.ATTRIBUTES/")[0] for name in names if name.startswith("flow/")} - known
        if unknown:
            raise ValueError(f"it also holds {', '.join(sorted(unknown))}")
        if weights == "ema" and any(name.startswith("ema/") for name in names):
            status = tf.train.Checkpoint(ema=flow.named_variables(trainable=True)).restore(checkpoint)
            status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, IndexError, tf.errors.OpError) as error:
        # TensorFlow lists every variable with its value.
        reason = str(error).splitlines()[0][:300]
        raise ValueError(f"Checkpoint {checkpoint} cannot be read into the model of {directory}: {reason}") from error
    return flow


def is_saved_model(directory: str | os.PathLike) -> bool:
    """Whether a directory is a SavedModel."""
    return (pathlib.Path(directory) / "saved_model.pb").is_file()


def _load_saved_model(directory: pathlib.Path) -> Flow:
    flow = Flow(load_config(directory))
    try:
        # The object that was saved has the flow as its attribute `flow`.
        status = restore(tf.train.Checkpoint(flow=flow), str(directory / "variables" / "variables"))
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, IndexError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0][:300]
        raise ValueError(f"The weights of the SavedModel {directory} cannot be read: {reason}") from error
    return flow


def restore(checkpoint: tf.train.Checkpoint, path: str):
    """Restores a checkpoint and returns its status, as `checkpoint.restore(path)` does, also of version 0.1.0.

    There the indices of permutations are int32, as which TensorFlow would not restore them.
    """
    reader = tf.train.load_checkpoint(path)
    dtypes = reader.get_variable_to_dtype_map()
    fixed = {name for name in dtypes if name.partition("/.ATTRIBUTES/")[0].rpartition("/")[2] in layers.FIXED}
    old = {name for name in fixed if dtypes[name] == tf.int32}
    if not old:
        return checkpoint.restore(path)
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
        return checkpoint.restore(converted)


def checkpoint_paths(directory: str | os.PathLike) -> dict[int, str]:
    """The checkpoints of a model directory by their steps, in rising order.

    They are found by their files: TensorFlow's list of them is a file of its own, which a crash can leave behind.
    """
    folder = pathlib.Path(directory) / CHECKPOINTS
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    steps = sorted(int(match[1]) for match in map(_INDEX.fullmatch, names) if match)
    return {step: str(folder / f"ckpt-{step}") for step in steps}


def load_config(path: str | os.PathLike) -> ModelConfig:
    """The config of the model that `load` takes the same path of.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it cannot be read, or the SavedModel is not of this package.
    """
    directory = _directory(path)
    if is_saved_model(directory):
        file = directory / "assets" / CONFIG_FILE
        if not file.is_file():
            raise ValueError(f"{directory} is a SavedModel, but not one that this package has exported.")
    else:
        file = directory / CONFIG_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{directory} is no model directory: it has no {CONFIG_FILE}.")
    try:
        return ModelConfig.from_json(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _directory(path: str | os.PathLike) -> pathlib.Path:
    return PRETRAINED if os.fspath(path) == "pretrained" else pathlib.Path(paths.for_tensorflow(path, "The model"))


def save_config(config: ModelConfig, directory: str | os.PathLike) -> None:
    """Writes `config.json`, whole or not at all."""
    with whole(pathlib.Path(directory) / CONFIG_FILE) as temporary:
        temporary.write_text(config.to_json() + "\n")


def save(flow: Flow, path: str | os.PathLike, *, step: int = 1) -> None:
    """Writes a flow as a model directory that `load` reads: its config and its weights, as the checkpoint `step`.

    Raises:
      OSError: if it cannot be written.
      ValueError: if TensorFlow cannot write to such a path.
    """
    directory = pathlib.Path(paths.for_tensorflow(path, "The model"))
    save_config(flow.config, directory)
    remove_unfinished(directory)
    checkpoint = tf.train.Checkpoint(flow=flow)
    manager = tf.train.CheckpointManager(checkpoint, str(directory / CHECKPOINTS), max_to_keep=1)
    with errors_of_the_system(directory):
        manager.save(checkpoint_number=step)


def remove_unfinished(directory: str | os.PathLike) -> None:
    """Removes what a write of a checkpoint that did not end has left in a model directory."""
    folder, steps = pathlib.Path(directory) / CHECKPOINTS, checkpoint_paths(directory)
    for path in [*folder.glob("*_temp"), *folder.glob("*.tempstate*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for data in folder.glob("ckpt-*.data-*"):
        if not data.name.endswith(".damaged") and int(data.name[5:].partition(".")[0]) not in steps:
            data.unlink(missing_ok=True)


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A name to write a file to, which takes the place of `path` once that is done; nothing is left if it fails.

    It is the same name every time, so that what a killed process left is written over.
    """
    path = pathlib.Path(paths.local(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def unfinished(path: pathlib.Path) -> pathlib.Path:
    """What is not to be taken for `path` while it is being written."""
    return path.with_name(f".{path.name}.unfinished")


@contextlib.contextmanager
def errors_of_the_system(path: str | os.PathLike) -> Iterator[None]:
    """Turns what TensorFlow raises when it cannot write into the OSError it stands for."""
    try:
        yield
    except tf.errors.OpError as error:
        number = errno.ENOSPC if isinstance(error, tf.errors.ResourceExhaustedError) else errno.EIO
        reason = str(error).splitlines()[0].rpartition("}} ")[2].partition(" [Op:")[0]
        raise OSError(number, f"{path} cannot be written: {reason}") from error
