"""Custom gradients that TensorFlow would keep for good."""

import contextlib
import gc

from tensorflow.python.framework import ops


@contextlib.contextmanager
def forgotten(*, collect: bool = True):
    """Has TensorFlow forget the custom gradients that are made inside, which nothing made inside may outlive.

    It keeps each of them, and with them the graphs they were made in, until the process ends: gigabytes, where tests
    export and load many models.

    Args:
      collect: whether Python looks for garbage at once.
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
