"""Checkpoints of a training run."""

import pathlib

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.training.optimizer import Adam, Adamax


class Checkpoints:
    """Saves and restores the weights, their moving averages (by path, for `glow_tf.load`) and the optimizer's state.

    Args:
      directory: the model directory.
      flow: the model.
      optimizer: its optimizer, which also counts the steps.
      keep: how many of the newest checkpoints are kept.
    """

    def __init__(self, directory: pathlib.Path, flow: Flow, optimizer: Adamax | Adam, keep: int):
        ema = optimizer.averages
        # Named after the kind of optimizer, as those of Adam would fit Adamax, and the other way round.
        kind = type(optimizer).__name__.lower()
        state = [variable.value for variable in optimizer.variables if all(variable.value is not a for a in ema)]
        state = {f"{kind}_{i:03d}": variable for i, variable in enumerate(state)}
        ema = dict(zip(flow.named_variables(trainable=True), ema, strict=True)) if ema else {}
        checkpoint = tf.train.Checkpoint(flow=flow, optimizer=state, ema=ema)
        self._checkpoint = checkpoint
        self._manager = tf.train.CheckpointManager(checkpoint, str(directory / storage.CHECKPOINTS), max_to_keep=keep)

    def restore(self) -> str | None:
        """Restores the newest checkpoint and returns its path; None if there is none.

        Raises:
          ValueError: if it is damaged or was made with other training settings.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            return None
        try:
            self._checkpoint.restore(path).assert_existing_objects_matched()
        except (AssertionError, ValueError, IndexError, tf.errors.OpError) as error:
            # TensorFlow lists every variable with its value.
            reason = str(error).splitlines()[0][:300]
            raise ValueError(
                f"Checkpoint {path} cannot be continued: it is damaged, or was made with another optimizer or "
                f"--ema_decay. Continue with those, or choose another --model_dir. ({reason})"
            ) from error
        return path

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        path = self._manager.latest_checkpoint
        return None if path is None else int(path.rsplit("-", 1)[-1])

    def save(self, step: int) -> str:
        """Writes a checkpoint named after `step` and returns its path."""
        return self._manager.save(checkpoint_number=step)


def claim_directory(directory: pathlib.Path, config: ModelConfig) -> None:
    """Writes `config.json`, or checks that the one there is the same.

    Raises:
      ValueError: if the directory belongs to another model; the message names the fields that differ.
    """
    if (directory / storage.CONFIG_FILE).exists():
        differences = storage.load_config(directory).differences(config)
        if differences:
            lines = "\n  ".join(differences[:20])
            raise ValueError(
                f"{directory} holds another model. Choose another --model_dir, or the flags it was made with. In the "
                f"directory (here) and by your flags (there):\n  {lines}"
            )
    storage.save_config(config, directory)
