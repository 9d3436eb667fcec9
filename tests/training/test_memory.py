"""Memory does not grow with depth, but for weights, gradients and optimizer slots."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def weights_and_peak(depth, gradient):
    """Bytes, of a step at 64x64, batch 16, L=3, width 128, Adamax with a moving average; of a fresh allocator."""
    flags = ["--measure", "--image_size=64", "--train_batch_size=16", "--width=128", "--timed_steps=1"]
    command = [sys.executable, "-m", "tools.memory", f"--depths={depth}", f"--gradient={gradient}", *flags]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    measured = json.loads(output.splitlines()[-1])
    return measured["weights"], measured["peak"]


@pytest.mark.slow
def test_the_reversible_gradient_keeps_no_activations_of_the_steps():
    (few_weights, few), (many_weights, many) = (weights_and_peak(depth, "reversible") for depth in (4, 64))
    # Weights, their gradients, Adamax's two slots and the moving average.
    assert many - few <= 1.05 * 5 * (many_weights - few_weights)


@pytest.mark.slow
def test_the_stored_gradient_keeps_them():
    (_, few), (_, many) = (weights_and_peak(depth, "stored") for depth in (4, 16))
    assert many > 3 * few
