"""Fixtures of all tests on a GPU."""

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True, scope="module")
def tf32():
    """Enables TF32, TensorFlow's default, in which a GPU rounds operands to 11 bits, whatever was set before."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)
