"""Beginning with the weights of another model."""

import tensorflow as tf

from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.training.model_directory import differences


def copy_weights(path: str, flow: Flow) -> None:
    """Gives a flow the weights of a model directory, and whether it is initialised.

    Args:
      path: the model directory, or the name of a model that comes with the package.
      flow: the flow; its structure must be the same.

    Raises:
      FileNotFoundError: if there is no model.
      ValueError: if it is of another structure; the message names what differs.
    """
    other = storage.load(path)
    lines = differences(flow.config, other.config)
    if lines:
        listed = "\n  ".join(lines[:20])
        raise ValueError(f"--init_from={path} is another model. By your flags (here) and there:\n  {listed}")
    copy_variables(other, flow)


def copy_variables(source: Flow, target: Flow) -> None:
    """Gives a flow the variables of another one of the same structure."""
    values = source.named_variables()
    for name, variable in target.named_variables().items():
        variable.assign(tf.convert_to_tensor(values[name]))
    target.initialized.assign(tf.convert_to_tensor(source.initialized))
