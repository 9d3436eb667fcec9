"""Export of a flow as a SavedModel that plain TensorFlow loads."""

import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import tensorflow as tf

from glow_tf.analysis.attributes import Directions
from glow_tf.data.picture_files import DEFAULT_MEGAPIXELS
from glow_tf.export.served_flow import ServedFlow
from glow_tf.export.simplification import simplify
from glow_tf.models.flow import Flow
from glow_tf.models.storage import CONFIG_FILE, check_not_pretrained, is_saved_model
from glow_tf.runtime import devices, json_files, paths
from glow_tf.runtime.errors import reraise_as_oserror
from glow_tf.runtime.files import temporary_path
from glow_tf.runtime.internals import save_context

_PICTURES_FILE = "pictures.json"
_MOST_BYTES = 1 << 16


def export_saved_model(
    flow: Flow,
    path: str | os.PathLike,
    directions: Directions | None = None,
    *,
    max_megapixels: float = DEFAULT_MEGAPIXELS,
    crop_from: int | None = None,
    device: str | None = None,
    differentiable: bool = True,
) -> list[str]:
    """Writes `flow` as a SavedModel to `path` atomically, replacing an existing one, but no other directory.

    `ServedFlow` describes its functions; `glow_tf.load` reads it back.

    Args:
      flow: the model.
      path: the directory. TensorFlow Serving requires its name to be a number, as in `models/glow/1`.
      directions: attribute directions to store in the SavedModel, or None.
      max_megapixels: largest picture file that its functions decode, in 10^6 pixels.
      crop_from: side of the squares that the model's pictures were cropped from in training, as in
        `glow_tf.data.load_source`; None if they were not.
      device: kind of device that its functions run on, `CPU` or `GPU`; None for any.
      differentiable: whether it has the gradients for training it further. Without them, and for one kind of device, it
        is written and loaded in a fraction of the time and memory.

    Returns:
      The names of its signatures.

    Raises:
      OSError: if it cannot be written.
      ValueError: if TensorFlow cannot write to the path, `glow_tf.load` takes it for the name of a bundled model,
        something else than a SavedModel is there, the directions are for latents of another size, no picture would be
        small enough, or the device is of another kind.
    """
    if device not in (None, *devices.KINDS):
        raise ValueError(f"device={device!r} must be one of {', '.join(devices.KINDS)}, or None for all.")
    check_not_pretrained(path, "path")
    path = pathlib.Path(paths.for_tensorflow(path, "The SavedModel"))
    if path.is_symlink():
        # The directory behind a link is replaced, and not the link.
        path = pathlib.Path(paths.for_tensorflow(os.path.realpath(path), "The SavedModel"))
    check_replaceable(path)
    temporary = temporary_path(path)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=differentiable)
    # Outside of this context, saving would trace every function again.
    with save_context(options):
        kinds = devices.KINDS if device is None else (device,)
        served = ServedFlow(flow, directions, max_megapixels, crop_from, kinds, differentiable)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with reraise_as_oserror(path), tempfile.TemporaryDirectory() as folder:
            # An asset is kept when the SavedModel is loaded, trained and saved again.
            config = pathlib.Path(folder) / CONFIG_FILE
            config.write_text(flow.config.to_json(), encoding="utf-8")
            served.config = tf.saved_model.Asset(str(config))
            settings = pathlib.Path(folder) / _PICTURES_FILE
            fields = {"max_megapixels": max_megapixels, "crop_from": crop_from}
            settings.write_text(json.dumps(fields), encoding="utf-8")
            served.picture_settings = tf.saved_model.Asset(str(settings))
            tf.saved_model.save(served, str(temporary), signatures=served.signatures(), options=options)
            simplify(temporary / "saved_model.pb")
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    replaced = temporary.with_name(f"{temporary.name}-replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.is_dir():
        path.replace(replaced)
    temporary.replace(path)
    shutil.rmtree(replaced, ignore_errors=True)
    return sorted(served.signatures())


def picture_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Returns `max_megapixels` and `crop_from` that a SavedModel was exported with; {} if earlier versions wrote it.

    Raises:
      ValueError: if their file is damaged; the message names it.
    """
    file = pathlib.Path(path) / "assets" / _PICTURES_FILE
    try:
        found = json_files.read_object(file, _MOST_BYTES)
    except FileNotFoundError:
        return {}
    if not isinstance(found.get("max_megapixels"), int | float) or not isinstance(found.get("crop_from"), int | None):
        raise ValueError(f"{file} is damaged; export the model again.")
    return found


def check_replaceable(path: pathlib.Path, what: str = "path") -> None:
    """Checks that a SavedModel can be written to a path without replacing anything but another one.

    Args:
      path: the path.
      what: its name in the error, such as `--output`.

    Raises:
      ValueError: if something is there that is not a SavedModel; an empty directory is nothing.
    """
    if path.exists() and not is_saved_model(path) and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{what}={path} is there and is not a SavedModel; it will not be overwritten.")
