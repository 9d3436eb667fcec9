"""Labels of samples."""

import numpy as np
import tensorflow as tf


def cycle_labels(n: int | tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns labels that cycle through the classes, 0, 1, ..., num_classes - 1, 0, ...: [n] int32."""
    return tf.range(tf.cast(n, tf.int32)) % num_classes


def sample_labels(n: int, num_classes: int, label: int | None = None) -> np.ndarray | None:
    """Returns the labels of n samples: [n] int32.

    Args:
      n: number of samples.
      num_classes: number of classes of a conditional model, or 0.
      label: label of all samples; by default, cycles through the classes.

    Returns:
      The labels, or None for a model that is not conditional.
    """
    if not num_classes:
        return None
    return cycle_labels(n, num_classes).numpy() if label is None else np.full([n], label, np.int32)
