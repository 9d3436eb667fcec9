"""Shared setup: quiet TensorFlow with four CPU devices, deterministic hypothesis, and the markers `slow` and `gpu`."""

import gc
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import pytest
import tensorflow as tf

from tests import gradients, memory, saved_models

# MirroredStrategy can be tested without a GPU, on CPU:0 and CPU:1, which must exist before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)
GPUS = tf.config.list_physical_devices("GPU")
for gpu in GPUS:
    # Otherwise TensorFlow takes all of its memory, and leaves none to the processes that tests start. This, too, must
    # be set before TensorFlow starts.
    tf.config.experimental.set_memory_growth(gpu, True)
# Replaces the time limit in pyproject.toml for slow tests.
SLOW_TIMEOUT_S = 3600
GPU_FOLDER = pathlib.Path(__file__).parent / "gpu"

hypothesis.settings.register_profile("glow_tf", derandomize=True, deadline=None, max_examples=10)
hypothesis.settings.load_profile("glow_tf")


@pytest.fixture(scope="session", autouse=True)
def graphs_as_they_are(request):
    """Runs graphs as they are traced, as optimising them takes longer than running them once.

    With the slow tests, and on a GPU, they are optimised, as they are for users.
    """
    config = request.config
    if not (config.getoption("--run-slow") or config.getoption("markexpr") or config.getoption("--gpu")):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module")
def untraced():
    """Runs tf.functions eagerly, for tests that call them only a few times: tracing takes far longer.

    The tests of the command lines trace the same functions, as users do.
    """
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def traced():
    """Traces tf.functions in a test file that uses `untraced`, for a test in which this makes a difference."""
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(eagerly)


@pytest.fixture(scope="module", autouse=True)
def take_memory_back():
    """Frees the memory of the previous test file, whose fixtures are held until its last test is over."""
    memory.give_back()
    with gradients.forgotten(collect=False):
        yield


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="also run the tests marked slow, which need minutes")
    parser.addoption("--gpu", action="store_true", help="also run the tests in tests/gpu; skip all without a GPU")


def pytest_configure(config):
    saved_models.folder_for_all(config)
    # What is imported by now stays: the garbage collector need not scan it again.
    gc.collect()
    gc.freeze()
    config.addinivalue_line("markers", "slow: needs minutes; runs with --run-slow or -m slow")
    config.addinivalue_line("markers", "gpu: needs an NVIDIA GPU; runs with --gpu. All of tests/gpu")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if GPU_FOLDER in item.path.parents:
            item.add_marker("gpu")
        if config.getoption("--gpu") and not GPUS:
            item.add_marker(pytest.mark.skip(reason="no GPU: TensorFlow sees none"))
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))
    left_out = set() if config.getoption("--gpu") else {"gpu"}
    if not (config.getoption("--run-slow") or config.getoption("markexpr")):
        left_out.add("slow")
    deselected = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if not any(item.get_closest_marker(name) for name in left_out)]
