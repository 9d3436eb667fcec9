"""Graphs as TensorFlow runs them in tests."""

import pytest
import tensorflow as tf


@pytest.fixture(scope="package", autouse=True)
def graphs_as_they_are():
    """No graph is made faster, which takes longer than running it once; a process of its own that loads one does it."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})
