"""GPU memory: activations of the steps are not stored, and unused memory is left to other processes."""

import gc
import math
import shutil
import subprocess

import pytest

import glow_tf
from glow_tf.commands.timing import peak_memory, time_steps
from glow_tf.training.devices import make_strategy
from tests.gpu import sizes
from tests.gpu.patience import within
from tests.gpu.programs import begin, end
from tests.training import helpers

# Tensors as large as the weights: the weights, Adamax's two slots, the moving average and the gradient.
AS_LARGE_AS_WEIGHTS = 5


def step_memory(depth, xla):
    """Bytes of the weights, and peak bytes of a training step, including the state that is kept between steps."""
    config = glow_tf.glow(**sizes.WIDE, K=depth)
    training = helpers.training(batch_size=sizes.WIDE_BATCH, xla=xla)
    # Frees what earlier tests have left.
    gc.collect()
    peak_memory(sizes.DEVICE)
    before = peak_memory(sizes.DEVICE)
    timing = within(lambda: time_steps(config, training, make_strategy("one_device"), steps=2))
    return timing.weights, timing.peak - before


def hidden_bytes():
    """Bytes of the two hidden layers of the networks of one step per level: the least that a gradient would store."""
    height, width, _ = sizes.WIDE["image_shape"]
    positions = sum(height * width // 4**level for level in range(1, sizes.WIDE["L"] + 1))
    return 2 * sizes.WIDE_BATCH * positions * sizes.WIDE["width"] * 4


@pytest.mark.parametrize("xla", [True, False], ids=["xla", "plain"])
def test_the_reversible_gradient_keeps_no_activations_of_the_steps(xla):
    (few_weights, few), (many_weights, many) = (step_memory(depth, xla) for depth in sizes.DEPTHS)
    few_steps, many_steps = sizes.DEPTHS
    # Convolution algorithms have buffers; the fastest one, found by trial, may differ between models.
    slack = (many_steps - few_steps) * hidden_bytes() / 2
    assert many - few <= AS_LARGE_AS_WEIGHTS * (many_weights - few_weights) + slack


QUERY = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
PREPARE = {
    "a program": "from glow_tf.runtime import environment; environment.prepare()",
    "a strategy": "from glow_tf.training.devices import make_strategy; make_strategy()",
}
USE = f"""
import subprocess
import tensorflow as tf
assert float(tf.reduce_sum(tf.ones([1000, 1000]))) == 1e6
print(subprocess.run({QUERY}, capture_output=True, text=True, check=True).stdout)
"""


def free_megabytes(text):
    return math.fsum(map(float, text.split()))


@pytest.mark.skipif(not shutil.which("nvidia-smi"), reason="no nvidia-smi, which tells how much memory is free")
@pytest.mark.parametrize("kind", PREPARE)
def test_a_process_leaves_memory_to_others(tmp_path, kind):
    """TensorFlow by default takes nearly all memory; other tests may take a little in the meantime."""
    before = free_megabytes(subprocess.run(QUERY, capture_output=True, text=True, check=True).stdout)
    out, _ = end(begin(["-c", f"{PREPARE[kind]}\n{USE}"], tmp_path))
    assert free_megabytes(out) > before / 2
