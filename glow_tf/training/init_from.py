"""Initialisation from the weights of another model."""

import tensorflow as tf

from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.training.model_directory import differences


def copy_weights(path: str, flow: Flow) -> None:
    """Copies the weights of a model directory, and its `initialized` flag, to a flow.

    Args:
      path: the model directory, or the name of a model that comes with the package.
      flow: flow of the same structure.

    Raises:
      FileNotFoundError: if there is no model.
      ValueError: if its structure differs; the message lists the differences.
    """
    other = storage.load(path)
    lines = differences(flow.config, other.config)
    if lines:
        listed = "\n  ".join(lines[:20])
        raise ValueError(f"--init_from={path} is another model. By your flags (here) and there:\n  {listed}")
    copy_variables(other, flow)


def copy_variables(source: Flow, target: Flow) -> None:
    """Copies the variables of a flow, and its `initialized` flag, to another one of the same structure."""
    values = source.named_variables()
    for name, variable in target.named_variables().items():
        variable.assign(tf.convert_to_tensor(values[name]))
    target.initialized.assign(tf.convert_to_tensor(source.initialized))
