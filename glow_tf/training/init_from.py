"""Initialisation from the weights of another model."""

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.training.model_directory import differences


def check_weights(path: str, config: ModelConfig) -> None:
    """Checks that a model directory, or a model that comes with the package, holds a model of the same structure.

    Raises:
      FileNotFoundError: if there is no model.
      ValueError: if its structure differs; the message lists the differences.
    """
    lines = differences(storage.load_config(path), config)
    if lines:
        listed = "\n  ".join(lines[:20])
        raise ValueError(f"--init_from={path} is another model. Recorded vs. requested:\n  {listed}")


def copy_weights(path: str, flow: Flow) -> None:
    """Copies the weights of a model directory, and its `initialized` flag, to a flow.

    Args:
      path: the model directory, or the name of a model that comes with the package.
      flow: flow of the same structure.

    Raises:
      FileNotFoundError: if there is no model, or it has no checkpoint.
      ValueError: if its structure differs, as for `check_weights`, or it cannot be read.
    """
    check_weights(path, flow.config)
    copy_variables(storage.load(path), flow)


def copy_variables(source: Flow, target: Flow) -> None:
    """Copies the variables of a flow, and its `initialized` flag, to another one of the same structure.

    Values are cast to the dtype of the target.
    """
    values = source.named_variables()
    for name, variable in target.named_variables().items():
        variable.assign(tf.cast(tf.convert_to_tensor(values[name]), variable.dtype))
    target.initialized.assign(tf.convert_to_tensor(source.initialized))
