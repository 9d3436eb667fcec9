"""What all tests share: a quiet TensorFlow with four CPU devices, repeatable hypothesis, the marker `slow`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import tensorflow as tf

# MirroredStrategy can be tested without a GPU: it takes CPU:0 and CPU:1. They must exist before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)

hypothesis.settings.register_profile("glow_tf", derandomize=True, deadline=None, max_examples=10)
hypothesis.settings.load_profile("glow_tf")


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="also run the tests marked slow, which need minutes")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: needs minutes; runs with --run-slow or -m slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow") or config.getoption("markexpr"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
