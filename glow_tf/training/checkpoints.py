"""Checkpoints of a training run: written atomically, kept by count and by time, skipped if damaged."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile

import tensorflow as tf

from glow_tf.models import storage
from glow_tf.runtime.errors import first_line, is_out_of_memory, system_error
from glow_tf.runtime.files import flush_to_disk
from glow_tf.training.config import TrainingConfig
from glow_tf.training.state import ADDED, TrainingState

# Errors from reading a truncated, altered or missing file.
_DAMAGE = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    FileNotFoundError,
    IndexError,
    UnicodeDecodeError,
)
# Errors from reading the weights of another model.
_MISFIT = (AssertionError, ValueError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)
_OF_RUN = "run/{}/.ATTRIBUTES/VARIABLE_VALUE"
# Present in every checkpoint of a run, but not in those of `storage.save`.
_STEP = _OF_RUN.format("step")


class CheckpointError(OSError):
    """Raised if a file of a run cannot be written, or a checkpoint cannot be read; the checkpoints are unchanged."""


def check_continuable(directory: pathlib.Path) -> None:
    """Checks that the newest checkpoint of a model directory, if any, holds a run and not only weights.

    Raises:
      ValueError: if it holds only weights; the message says what to do with it.
    """
    path = next(reversed(storage.checkpoint_paths(directory).values()), None)
    try:
        names = tf.train.load_checkpoint(path).get_variable_to_shape_map() if path else {_STEP: []}
    except (tf.errors.OpError, *_DAMAGE):
        return
    if _STEP not in names:
        raise ValueError(
            f"{directory} holds the weights of a model and no run to go on with. To begin one with these weights, set "
            f"--init_from={directory} and another --model_dir."
        )


class Checkpoints:
    """Saves and restores the state of a training run.

    Args:
      directory: the model directory.
      state: the state to save and restore.
      training: settings that determine which checkpoints are kept.

    Attributes:
      empty: whether this process has neither restored nor saved a checkpoint.
    """

    def __init__(self, directory: pathlib.Path, state: TrainingState, training: TrainingConfig):
        self._directory = directory / storage.CHECKPOINTS
        self._flow, self._state, self._checkpoint = state.flow, state, state.checkpoint()
        self._training = training
        self._manager: tf.train.CheckpointManager | None = None
        self.empty = True

    def restore(self) -> tuple[str | None, list[str]]:
        """Restores the newest checkpoint that can be read.

        Returns:
          Its path, or None if there is none; and a line for each newer checkpoint that is damaged, which names it.
          Damaged files are renamed, so that nothing else mistakes them for the newest.

        Raises:
          ValueError: if every checkpoint is damaged, or the newest readable one was made with other settings or by
            another version.
          CheckpointError: if one cannot be read for another reason, such as a lack of permission or memory.
        """
        damaged = {
            step: f"{path} is damaged: its index, {path}.index, is gone"
            for step, path in reversed(storage.paths_without_index(self._directory.parent).items())
        }
        for step, path in reversed(storage.checkpoint_paths(self._directory.parent).items()):
            try:
                # TensorFlow does not tell an index that is garbage from one that the system refuses to read.
                pathlib.Path(f"{path}.index").read_bytes()
                storage.check_fits(self._flow.config, path, self._flow.dtype)
                storage.restore(self._contents_of(path), path).assert_existing_objects_matched()
            except (*_MISFIT, *_DAMAGE, OSError, MemoryError, tf.errors.OpError) as error:
                if _is_damage(error):
                    damaged[step] = f"{path} is damaged: {first_line(error)}"
                    continue
                if isinstance(error, _MISFIT):
                    raise ValueError(
                        f"Checkpoint {path} does not fit: it was made by another version or with other settings. "
                        f"Continue with those, or choose another --model_dir. ({first_line(error)})"
                    ) from error
                hint = "Free some memory, on the GPU if there is one, and run" if is_out_of_memory(error) else "Run"
                raise CheckpointError(
                    f"Checkpoint {path} cannot be read, and is left as it is: {first_line(error)}. {hint} the same "
                    "command again."
                ) from error
            for newer in damaged:
                self._rename_damaged(newer)
            self.empty = False
            return path, [
                f"{line}. Its files now end in .damaged; the one before is taken." for line in damaged.values()
            ]
        if damaged:
            lines = "\n  ".join(damaged.values())
            raise ValueError(
                f"No checkpoint of {self._directory} can be read. Restore one from a backup, or begin anew in another "
                f"--model_dir.\n  {lines}"
            )
        return None, []

    def _contents_of(self, path: str) -> tf.train.Checkpoint:
        """Returns what a checkpoint holds, which is not all of the run if it is of an earlier version."""
        names = tf.train.load_checkpoint(path).get_variable_to_shape_map()
        missing = [name for name in ADDED if _OF_RUN.format(name) not in names]
        return self._state.checkpoint(without=missing) if missing else self._checkpoint

    @property
    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None if there is none."""
        return max(storage.checkpoint_paths(self._directory.parent), default=None)

    def save(self, step: int) -> str:
        """Writes a checkpoint named after `step`, deletes those that are no longer kept, and returns its path.

        A checkpoint of the same step is replaced.

        Raises:
          CheckpointError: if it cannot be written; the other checkpoints are then left untouched.
        """
        try:
            if self._manager is None:
                self._manager = self._make_manager()
            path = storage.checkpoint_paths(self._directory.parent).get(step)
            if path is None:
                path = storage.save_checkpoint(self._manager, step)
            else:
                self._replace(step)
        except (OSError, tf.errors.OpError) as error:
            storage.remove_unfinished(self._directory.parent)
            raise CheckpointError(self.no_room(error, f"The checkpoint of step {step:,}")) from error
        self.empty = False
        return path

    def _replace(self, step: int) -> None:
        # TensorFlow would write over the files, and leave neither checkpoint if the disk is full.
        with tempfile.TemporaryDirectory(suffix="_temp", dir=self._directory) as folder:
            storage.flush_checkpoint(self._checkpoint.write(f"{folder}/ckpt-{step}"))
            for file in pathlib.Path(folder).glob(f"ckpt-{step}.*"):
                file.replace(self._directory / file.name)
        flush_to_disk(self._directory)

    def no_room(self, error: Exception, what: str) -> str:
        """Returns the message of a `CheckpointError` after writing `what` failed with `error`."""
        existing = next(path for path in (self._directory, *self._directory.parents) if path.is_dir())
        free = shutil.disk_usage(existing).free
        latest = self.latest_step
        rest = (
            "There is no checkpoint before it" if latest is None else f"The checkpoint of step {latest:,} is untouched"
        )
        return (
            f"{what} cannot be written to {self._directory.parent}, where {free / 1e6:,.0f} MB are free: "
            f"{first_line(error)}. {rest}. Make room and run the same command again."
        )

    def _make_manager(self) -> tf.train.CheckpointManager:
        self._directory.mkdir(parents=True, exist_ok=True)
        storage.remove_unfinished(self._directory.parent)
        self._repair_list()
        return tf.train.CheckpointManager(
            self._checkpoint,
            str(self._directory),
            max_to_keep=self._training.keep_checkpoints,
            keep_checkpoint_every_n_hours=self._training.keep_every_hours or None,
        )

    def _repair_list(self) -> None:
        """Updates TensorFlow's list of checkpoints, which a crash can leave outdated or empty."""
        found = list(storage.checkpoint_paths(self._directory.parent).values())
        if not found:
            (self._directory / "checkpoint").unlink(missing_ok=True)
            return
        try:
            known = tf.train.get_checkpoint_state(str(self._directory))
        except ValueError:  # Raised for an empty list; one that cannot be parsed gives None.
            known = None
        if known and known.model_checkpoint_path == found[-1]:
            return
        times = [os.path.getmtime(f"{path}.index") for path in found]
        preserved = times[0] - 3600 * self._training.keep_every_hours - 1
        if known:
            # Without the checkpoints that are kept permanently, which are older than the listed ones.
            listed = set(known.all_model_checkpoint_paths)
            first = next((i for i, path in enumerate(found) if path in listed), len(found) - 1)
            found, times, preserved = found[first:], times[first:], known.last_preserved_timestamp
        tf.compat.v1.train.update_checkpoint_state(
            str(self._directory),
            found[-1],
            all_model_checkpoint_paths=found,
            all_model_checkpoint_timestamps=times,
            last_preserved_timestamp=preserved,
        )

    def _rename_damaged(self, step: int) -> None:
        for file in self._directory.glob(f"ckpt-{step}.*"):
            if not file.name.endswith(".damaged"):
                # Several workers do this at the same time.
                with contextlib.suppress(FileNotFoundError):
                    file.replace(file.with_name(f"{file.name}.damaged"))


def _is_damage(error: BaseException) -> bool:
    # The reader raises the base class itself for any error, also for one of the system.
    unknown = type(error) is tf.errors.OpError and system_error(error) in (None, errno.ENOENT)
    return unknown or isinstance(error, _DAMAGE)
