"""Runs on 1, 2 and 4 replicas, and in 1, 2 and 4 parts, follow one curve."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.training.processes import TINY, Process, last_step, metrics

STEPS = 20
# Default optimizer, learning rate and clipping. Only the first checkpoint, that of step 1, is compared.
CURVE = (*TINY, f"--steps={STEPS + 1}", "--checkpoint_every=1000", "--eval_every=0", "--sample_every=0")
BITS_PER_DIM = 1e-4
# A thousandth of the learning rate: weights may differ by twice this after the first update.
FIRST_UPDATE = 1e-6


@functools.cache
def run(*arguments: str) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Returns the train lines of the first steps of a run with these flags, and the weights after the first one."""
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(parent) / "run"
        with Process(directory, (*CURVE, *arguments)) as process:
            # The samples and the evaluation that follow take longer than these steps.
            assert process.wait_until(lambda: last_step(directory) >= STEPS), process.stderr
        reader = tf.train.load_checkpoint(str(directory / "checkpoints/ckpt-1"))
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith("flow/")]
        return metrics(directory)[:STEPS], {name: reader.get_tensor(name) for name in names}


def assert_same_curve(arguments: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Asserts that two runs begin with the same weights, and report the same bits/dim up to `BITS_PER_DIM`."""
    lines, start = run(*arguments)
    expected_lines, expected_start = run(*expected)
    assert start.keys() == expected_start.keys() and start
    for name, value in expected_start.items():
        # Where a gradient is nearly zero, rounding decides which way Adamax goes.
        np.testing.assert_allclose(start[name], value, rtol=1e-6, atol=2 * FIRST_UPDATE, err_msg=name)
    assert [line["step"] for line in lines] == [line["step"] for line in expected_lines] == list(range(1, STEPS + 1))
    # A flat curve would say nothing about the gradients.
    assert expected_lines[-1]["bits_per_dim"] < expected_lines[0]["bits_per_dim"] - 0.05
    differences = [abs(a["bits_per_dim"] - b["bits_per_dim"]) for a, b in zip(lines, expected_lines, strict=True)]
    print(f"{' '.join(arguments)}: {max(differences):.2g} bits/dim")
    assert max(differences) < BITS_PER_DIM, differences


def replicas(count: int) -> tuple[str, ...]:
    return ("--strategy=mirrored", f"--num_replicas={count}")


@pytest.mark.slow
def test_two_replicas_follow_the_curve_of_one():
    assert_same_curve(replicas(2), replicas(1))


@pytest.mark.slow
def test_four_replicas_follow_the_curve_of_one():
    assert_same_curve(replicas(4), replicas(1))


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_follow_the_curve_of_whole_ones(parts):
    assert_same_curve((*replicas(1), f"--accumulate_steps={parts}"), replicas(1))


@pytest.mark.slow
def test_parts_on_two_replicas_follow_the_curve_of_one():
    assert_same_curve((*replicas(2), "--accumulate_steps=2"), replicas(1))


@pytest.mark.slow
def test_one_device_is_one_replica():
    (lines, start), (expected_lines, expected_start) = run("--strategy=one_device"), run(*replicas(1))
    assert lines == expected_lines
    assert start.keys() == expected_start.keys()
    for name, value in expected_start.items():
        np.testing.assert_array_equal(start[name], value, err_msg=name)
