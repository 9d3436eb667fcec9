"""Guard against non-finite losses and gradients."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from glow_tf.models.diagnosis import first_nonfinite, first_nonfinite_of_noise
from glow_tf.models.flow import Flow
from glow_tf.models.health import can_be_additive
from glow_tf.models.likelihood import dequantized_batch
from glow_tf.runtime.errors import is_out_of_memory
from glow_tf.training.checkpoints import Checkpoints
from glow_tf.training.config import TrainingConfig
from glow_tf.training.state import TrainingState

_LOWER = 0.5


class DivergenceError(RuntimeError):
    """Raised if training has diverged and cannot recover, for instance after the maximum number of rollbacks."""


class Guard:
    """Counts skipped steps, reports where numbers stopped being finite, and rolls back to a checkpoint if necessary.

    Args:
      state: state of the run.
      checkpoints: checkpoints of the run.
      training: settings with the limits.
      batch_of: returns the batch of a step, as `glow_tf.training.batches.dequantized` does.
      replicas: number of devices that share a batch.
    """

    def __init__(
        self,
        state: TrainingState,
        checkpoints: Checkpoints,
        training: TrainingConfig,
        batch_of: Callable[[int], dict[str, tf.Tensor]],
        *,
        replicas: int = 1,
    ):
        self._flow, self._run, self._schedule = state.flow, state.run, state.optimizer.schedule
        self._checkpoints, self._training, self._batch_of = checkpoints, training, batch_of
        # As many images at once as in training, as one device may have no room for more.
        self._images_at_once = training.images_at_once // replicas

    def after(self, step: int, values: dict[str, float], say: Callable[[str], None]) -> bool:
        """Handles step `step`, whose update was skipped; `values` are its `loss` and `gradient_norm`.

        Returns:
          True if the run was rolled back to a checkpoint.

        Raises:
          DivergenceError: if no further rollback is allowed, or there is no checkpoint.
        """
        run = self._run
        where = self._where(step, values)
        total, row = run.count("skipped"), run.count("skipped_in_a_row")
        say(
            f"step {step:,}: update skipped, as the loss is {values['loss']:.4g} and the norm of its gradient "
            f"{values['gradient_norm']:.4g}. First non-finite value: {where}. ({row} in a row, {total} in all)"
        )
        if row < self._training.max_skipped:
            return False
        rollbacks, factor = run.count("rollbacks"), float(self._schedule.factor.read_value()) * _LOWER
        if rollbacks > self._training.max_rollbacks:
            remedies = ["A lower --learning_rate", "--clip_norm", "longer --warmup_steps"]
            remedies += ["--coupling=additive"] * can_be_additive(self._flow.config)
            raise DivergenceError(
                f"At step {step:,} loss or gradient were not finite {row} times in a row, after {rollbacks - 1} returns"
                f" to a checkpoint with half the learning rate each time. First non-finite value: {where}. The "
                f"checkpoints are kept. {', '.join(remedies[:-1])} or {remedies[-1]} may help."
            )
        # They describe files that restoring a checkpoint does not bring back.
        names = ("best_bits_per_dim", "best_step", "best_images", "best_requested")
        kept = {name: getattr(run, name).read_value() for name in names}
        path, damaged = self._checkpoints.restore()
        for line in damaged:
            say(line)
        if path is None:
            raise DivergenceError(
                f"At step {step:,} loss or gradient were not finite {row} times in a row, and there is no checkpoint "
                f"to go back to. First non-finite value: {where}. A lower --learning_rate or longer --warmup_steps may "
                "help."
            )
        for name, value in kept.items():
            getattr(run, name).assign(value)
        if int(run.best_step) > int(run.step):
            run.since_best.assign(0)
        run.skipped.assign(total)
        run.rollbacks.assign(rollbacks)
        self._schedule.factor.assign(factor)
        say(f"Back to step {int(run.step.read_value()):,} ({path}), with {factor:g} times the learning rate.")
        return True

    def _where(self, step: int, values: dict[str, float]) -> str:
        batch = self._batch_of(step - 1)
        for start in range(0, self._training.batch_size, self._images_at_once):
            part = {name: value[start : start + self._images_at_once] for name, value in batch.items()}
            try:
                where = self._first_of(part)
            except tf.errors.OpError as error:
                if not is_out_of_memory(error):
                    raise
                # The step is already skipped, and the run goes on.
                return "unknown, as there is not enough memory to look for it"
            if where:
                return where
        if math.isfinite(values["loss"]):
            return "the norm of the whole gradient, which overflows"
        return "the density of the latents or the loss of the classifier, outside the layers"

    def _first_of(self, part: dict[str, tf.Tensor]) -> str | None:
        """Names the first values of a batch that are not finite; None if there are none."""
        flow, precision = self._flow, self._training.network_precision
        x, log_q = dequantized_batch(flow, part, network_precision=precision, training=True)
        if not np.isfinite(log_q).all():
            return "the density of the dequantization noise"
        labels = part["labels"] if flow.config.conditional else None
        where = first_nonfinite(flow, x, labels, network_precision=precision)
        return where or first_nonfinite_of_noise(flow, part, network_precision=precision)


def has_singular_convolution(flow: Flow) -> bool:
    """Returns whether any 1x1 convolution has a matrix that is singular in floating point."""
    for layer, _, tensors in flow.iter_layers():
        with flow.runtime.scope():
            found = layer.matrices(tensors)
        for matrices in found:
            ranks = np.linalg.matrix_rank(np.nan_to_num(matrices))
            if (ranks < matrices.shape[-1]).any():
                return True
    return False
