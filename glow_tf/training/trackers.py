"""Trackers of metrics and pictures: TensorBoard, and Weights & Biases and MLflow where they are installed."""

import importlib.util
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from glow_tf.runtime import json_files, text
from glow_tf.runtime.errors import first_line, reraise_as_oserror
from glow_tf.runtime.files import atomic_write
from glow_tf.training.config import tracker_names

IDS_FILE = "trackers.json"
_MOST_BYTES = 2**16
# Name of the Weights & Biases project and the MLflow experiment, unless the environment sets one.
_PROJECT = "glow_tf"


class Tracker(Protocol):
    """A destination for the metrics and pictures of a run, under the names they have in TensorBoard."""

    def write_hyperparameters(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Writes the settings the run was started with, which may differ from those of an earlier start."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes metrics."""

    def write_image(self, name: str, step: int, image: np.ndarray) -> None:
        """Writes one image, uint8 [H, W, C]."""

    def flush(self) -> None:
        """Makes everything visible to readers."""

    def close(self, status: str) -> None:
        """Closes the tracker; `status` of the run is `FINISHED`, `KILLED` (by a signal) or `FAILED`."""


class TensorBoard:
    """Event files in the folder `tensorboard` of a model directory, which the run continues without if they fail.

    Args:
      directory: the model directory.
      say: called with a message if they fail.

    Raises:
      OSError: if they cannot be opened, or later if the disk is full.
    """

    def __init__(self, directory: pathlib.Path, say: Callable[[str], None] = print):
        self._folder, self._say = directory / "tensorboard", say
        with reraise_as_oserror(self._folder):
            self._events: tf.summary.SummaryWriter | None = self._opened()

    def write_hyperparameters(self, values: Mapping[str, bool | int | float | str]) -> None:
        self._record(0, lambda: hparams.hparams(dict(values)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        def record():
            for name, value in values.items():
                tf.summary.scalar(name, value)

        self._record(step, record)

    def write_image(self, name: str, step: int, image: np.ndarray) -> None:
        self._record(step, lambda: tf.summary.image(name, image[np.newaxis]))

    def flush(self) -> None:
        self._record(0, lambda: None)

    def close(self, status: str) -> None:
        self.flush()
        self._events = None

    def _opened(self) -> tf.summary.SummaryWriter:
        before = set(self._folder.glob("events.*"))
        events = tf.summary.create_file_writer(str(self._folder))
        # Earlier starts of the run have left files too.
        self._file = next(iter(set(self._folder.glob("events.*")) - before), self._folder)
        return events

    def _record(self, step: int, record: Callable[[], object]) -> None:
        """Calls `record`, which writes events at `step`, and flushes them."""
        if self._events is None:
            return
        try:
            if not self._file.exists():
                # Deleted during the run. TensorFlow would write on to the deleted file.
                self._events = self._opened()
            # Flushes them at its end.
            with self._events.as_default(step=step):
                record()
        except tf.errors.OpError as error:
            if isinstance(error, tf.errors.ResourceExhaustedError):
                with reraise_as_oserror(self._folder):
                    raise
            self._events = None
            self._say(f"TensorBoard failed, and the run goes on without it: {first_line(error)}")


class WandB:
    """A Weights & Biases run, in the project named by WANDB_PROJECT, or else `glow_tf`.

    Attributes:
      id: ID of the run, with which a later process continues it.
    """

    def __init__(self, name: str, run_id: str | None):
        import wandb

        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=os.environ.get("WANDB_NAME", name),
            id=run_id,
            resume="allow",
        )
        self.id = self._run.id
        # Its own step count cannot go back, as a run continued from a checkpoint does.
        self._run.define_metric("*", step_metric="step")

    def write_hyperparameters(self, values: Mapping[str, bool | int | float | str]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def write_image(self, name: str, step: int, image: np.ndarray) -> None:
        self._run.log({"step": step, name: self._image(image if image.shape[-1] > 1 else image[..., 0])})

    def flush(self) -> None:
        """Does nothing: W&B's own process sends everything as it comes."""

    def close(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)


class MLflow:
    """An MLflow run, in the experiment named by MLFLOW_EXPERIMENT_NAME, or else `glow_tf`.

    Attributes:
      id: as for `WandB`.
    """

    def __init__(self, name: str, run_id: str | None):
        import mlflow

        self._metric, self._param = mlflow.entities.Metric, mlflow.entities.Param
        self._client = mlflow.MlflowClient()
        if run_id is None or not self._found(run_id, mlflow.MlflowException):
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
            found = self._client.get_experiment_by_name(experiment)
            place = found.experiment_id if found else self._client.create_experiment(experiment)
            run_id = self._client.create_run(place, run_name=name).info.run_id
        self.id = run_id
        self._client.update_run(run_id, status="RUNNING")

    def _found(self, run_id: str, error: type[Exception]) -> bool:
        """Returns whether the run exists: not if it was deleted, or is in another store."""
        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except error:
            return False

    def write_hyperparameters(self, values: Mapping[str, bool | int | float | str]) -> None:
        before = self._client.get_run(self.id).data.params
        new = [self._param(name, str(value)) for name, value in values.items() if name not in before]
        self._client.log_batch(self.id, params=new)
        for name, value in values.items():
            # MLflow parameters cannot be changed.
            if before.get(name, str(value)) != str(value):
                self._client.set_tag(self.id, name, str(value))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[self._metric(n, value, now, step) for n, value in values.items()])

    def write_image(self, name: str, step: int, image: np.ndarray) -> None:
        self._client.log_image(self.id, image, artifact_file=f"{name}/step_{step:07d}.png")

    def flush(self) -> None:
        """Does nothing: everything is written immediately."""

    def close(self, status: str) -> None:
        self._client.set_terminated(self.id, status)


_KINDS = {"wandb": WandB, "mlflow": MLflow}


def check_installed(trackers: str) -> None:
    """Checks that the packages of trackers are installed.

    Args:
      trackers: as `TrainingConfig.tracker`.

    Raises:
      ValueError: if one is unknown or not installed.
    """
    for name in tracker_names(trackers):
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"--tracker={trackers} needs the package {name}: pip install {name}")


class Trackers:
    """The trackers of a run, which continues without those that fail.

    The IDs of their runs are kept in the model directory.

    Args:
      trackers: as `TrainingConfig.tracker`.
      directory: the model directory.
    """

    def __init__(self, trackers: str, directory: pathlib.Path):
        self._names, self._directory = tracker_names(trackers), directory
        self._open: dict[str, Tracker] | None = None
        self._say: Callable[[str], None] = print

    def begin(self, values: Mapping[str, bool | int | float | str], say: Callable[[str], None]) -> None:
        """Opens the trackers, unless they are open, with the settings of the run; `say` is called about failures.

        Raises:
          ValueError: if one cannot be opened.
        """
        if self._open is not None:
            return
        self._open, self._say = {}, say
        ids = self._ids()
        for name in self._names:
            try:
                self._open[name] = _KINDS[name](self._directory.resolve().name, ids.get(name))
            except Exception as error:
                ids_file = self._directory / IDS_FILE
                hint = f" (To begin another run there, delete {ids_file}.)" if name in ids else ""
                raise ValueError(f"--tracker={name} cannot begin: {_in_one_line(error)}{hint}") from error
            ids[name] = self._open[name].id
        if self._open:
            with atomic_write(self._directory / IDS_FILE) as temporary:
                text.write(temporary, json.dumps(ids, indent=2) + "\n")
        self._each("write_hyperparameters", values)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes metrics to each tracker."""
        self._each("write", step, values)

    def write_image(self, name: str, step: int, image: np.ndarray) -> None:
        """Writes an image, uint8 [H, W, C], to each tracker."""
        self._each("write_image", name, step, image)

    def close(self, status: str) -> None:
        """Closes each tracker; `status` is as for `Tracker.close`."""
        self._each("close", status)
        self._open = None

    def _each(self, method: str, *arguments: Any) -> None:
        for name, tracker in list((self._open or {}).items()):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                # Networks and servers fail in many ways, none of which is a reason to lose the run.
                del self._open[name]
                self._say(f"{name} failed, and the run goes on without it: {_in_one_line(error)}")

    def _ids(self) -> dict[str, str]:
        try:
            found = json_files.read_object(self._directory / IDS_FILE, _MOST_BYTES)
        except (OSError, ValueError):
            return {}
        return {name: value for name, value in found.items() if isinstance(value, str)}


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
