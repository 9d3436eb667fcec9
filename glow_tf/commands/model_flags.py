"""The model of a command and the labels of its samples, as specified by flags."""

import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from absl import flags

from glow_tf.analysis.attributes import Directions
from glow_tf.analysis.codec import default_batch_size
from glow_tf.commands import common_flags
from glow_tf.config import ModelConfig
from glow_tf.data import picture_files
from glow_tf.export.saved_model import export_saved_model, picture_settings
from glow_tf.models import labels, storage
from glow_tf.models.flow import Flow
from glow_tf.runtime import devices
from glow_tf.training import model_directory
from glow_tf.training.devices import sharding_runtime

FLAGS = flags.FLAGS

NAMES = ("model_dir", "weights", "batch_size", "xla")


def load_flow(*, many: bool = False) -> Flow:
    """Loads the model of --model_dir, and allows for pictures as large as those of the run that trained it.

    Args:
      many: whether the command processes whole batches, which are then sharded over cores if that is faster; see
        `glow_tf.runtime.sharding`.

    Raises:
      ValueError: if it is a model of flat vectors, sequences or real numbers instead of images of uint8, or as for
        `check_weights`.
    """
    check_weights()
    if "max_megapixels" in FLAGS:
        picture_files.limit(max_megapixels())
    config = storage.load_config(FLAGS.model_dir)
    if config.events != "images" or config.n_bits is None:
        data = "real numbers" if config.events == "images" else config.events
        raise ValueError(f"This is a model of {data}, which have no picture; use glow_tf.load(...) in Python.")
    runtime = sharding_runtime(config, batch_size(config) if many else None, xla=FLAGS.xla)
    flow = storage.load(FLAGS.model_dir, weights=FLAGS.weights, runtime=runtime)
    if runtime.xla:
        print("XLA compiles each kind of computation when it is first needed.", file=sys.stderr)
    return flow


def run_directory() -> pathlib.Path:
    """Returns the model directory of --model_dir, which may record the run that trained it."""
    return storage.PRETRAINED.get(FLAGS.model_dir) or pathlib.Path(FLAGS.model_dir)


def max_megapixels() -> float:
    """Returns the value of --max_megapixels, by default that of the run that trained the model or of its SavedModel."""
    if FLAGS["max_megapixels"].present:
        return FLAGS.max_megapixels
    if _is_saved_model():
        recorded = picture_settings(FLAGS.model_dir).get("max_megapixels")
    else:
        recorded = model_directory.max_megapixels(run_directory())
    return FLAGS.max_megapixels if recorded is None else recorded


def crop_from() -> int | None:
    """Returns the side of the squares that the pictures of the model were cropped from in training, or None."""
    if _is_saved_model():
        return picture_settings(FLAGS.model_dir).get("crop_from")
    return model_directory.crop_from(run_directory())


def check_weights() -> None:
    """Raises ValueError if --weights is given for a SavedModel, which has only those that it was exported with."""
    if _is_saved_model():
        common_flags.refuse(["weights"], f"is for model directories; {FLAGS.model_dir} is a SavedModel.")


def describe_weights() -> str:
    """Describes the weights that `load_flow` loads."""
    if _is_saved_model():
        return "the SavedModel's only weights"
    return f"{FLAGS.weights} weights" if storage.has_averages(FLAGS.model_dir) else "the checkpoint's only weights"


def saved_model(folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of a SavedModel of --model_dir for this process.

    A model directory is exported to `folder` first.
    """
    if not _must_be_exported():
        return pathlib.Path(FLAGS.model_dir)
    print(f"Exporting {FLAGS.model_dir} ...", file=sys.stderr, flush=True)
    export_for_this_process(storage.load(FLAGS.model_dir), folder)
    return folder


def export_for_this_process(flow: Flow, path: pathlib.Path, directions: Directions | None = None) -> None:
    """Exports the flow of --model_dir to `path`, for the devices of this process and without gradients."""
    export_saved_model(
        flow,
        path,
        directions,
        max_megapixels=FLAGS.max_megapixels,
        crop_from=crop_from(),
        device=devices.best(),
        differentiable=False,
    )


@contextlib.contextmanager
def temporary_saved_model(prefix: str) -> Iterator[pathlib.Path]:
    """Yields the path of a SavedModel of --model_dir for this process, as `saved_model` does, in a temporary folder."""
    if not _must_be_exported():
        yield pathlib.Path(FLAGS.model_dir)
        return
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        yield saved_model(pathlib.Path(folder) / "1")


def _must_be_exported() -> bool:
    return FLAGS.model_dir in storage.PRETRAINED or (pathlib.Path(FLAGS.model_dir) / storage.CONFIG_FILE).is_file()


def _is_saved_model() -> bool:
    return FLAGS.model_dir not in storage.PRETRAINED and storage.is_saved_model(FLAGS.model_dir)


def batch_size(config: ModelConfig) -> int:
    """Returns the value of --batch_size, or the default for the model."""
    return FLAGS.batch_size or default_batch_size(config)


def label(flow: Flow) -> int | None:
    """Returns the value of --label.

    Raises:
      ValueError: if the model is not conditional, or does not have this label.
    """
    if FLAGS.label is None:
        return None
    if not flow.config.conditional:
        raise ValueError("--label is for conditional models; this one is not.")
    if FLAGS.label >= flow.config.num_classes:
        raise ValueError(f"--label={FLAGS.label} must be less than {flow.config.num_classes}.")
    return FLAGS.label


def sample_labels(flow: Flow, count: int) -> np.ndarray | None:
    """Returns labels [count] for samples: --label, or the classes in turn; None unless the model is conditional."""
    num_classes = flow.config.num_classes if flow.config.conditional else 0
    return labels.sample_labels(count, num_classes, label(flow))
