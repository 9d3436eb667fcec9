"""Removal of custom gradients, which TensorFlow would otherwise keep forever."""

import contextlib
import gc

from tensorflow.python.framework import ops


@contextlib.contextmanager
def forgotten(*, collect: bool = True):
    """Makes TensorFlow forget the custom gradients created inside; nothing that uses them may outlive the context.

    TensorFlow keeps each of them, and with them the graphs they were created in, until the process ends: gigabytes if
    tests export and load many models.

    Args:
      collect: whether to collect garbage immediately afterwards.
    """
    kept = ops.gradient_registry._registry
    before = set(kept)
    try:
        yield
    finally:
        for name in set(kept) - before:
            if name.startswith("CustomGradient-"):
                del kept[name]
        if collect:
            gc.collect()
