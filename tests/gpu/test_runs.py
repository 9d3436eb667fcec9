"""Runs of the training program on a GPU that are stopped by a signal and resumed."""

import concurrent.futures
import signal

import pytest

from tests.gpu import sizes
from tests.gpu.programs import NOISE, Training
from tests.training.processes import SHORT, assert_same_run, checkpoint_steps, last_step
from tests.training.test_kills import CHECKPOINT_FILES, command_to_go_on

# Regular checkpoints would hide whether a signal causes one.
FLAGS = (*SHORT, "--checkpoint_every=1000")
STEPS = 20


def begin(directory, flags):
    return Training(directory, ["-m", "glow_tf.main", f"--model_dir={directory}", *flags])


def whole(directory, flags):
    """Runs to the end and returns the stderr."""
    with begin(directory, flags) as process:
        assert process.end() == 0, process.stderr
        return process.stderr


def stopped(directory, flags):
    """Like `whole`, but stopped and resumed; at step 10, XLA takes seconds to compile sampling and evaluation."""
    with begin(directory, flags) as process:
        assert process.wait_for_steps(1), process.stderr
        process.send(signal.SIGTERM)
        _, *command = command_to_go_on(process, signal.SIGTERM)
        stderr = process.stderr
    assert 0 < last_step(directory) < STEPS
    with Training(directory, command) as process:
        assert process.end() == 0, process.stderr
        return stderr + process.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The parent of three model directories, and the stderr of each run, keyed by name."""
    parent = tmp_path_factory.mktemp("runs")
    deterministic = (*FLAGS, "--deterministic")
    cases = {"whole": (whole, deterministic), "stopped": (stopped, deterministic), "default": (stopped, FLAGS)}
    with concurrent.futures.ThreadPoolExecutor(sizes.PROGRAMS) as executor:
        texts = {name: executor.submit(function, parent / name, flags) for name, (function, flags) in cases.items()}
    return parent, {name: text.result() for name, text in texts.items()}


def test_a_deterministic_run_that_was_stopped_is_the_same_as_one_that_was_not(runs):
    parent, _ = runs
    assert_same_run(parent / "stopped", parent / "whole", apart_from=CHECKPOINT_FILES)


def test_a_run_that_was_stopped_goes_on_to_the_end(runs):
    parent, texts = runs
    assert "Continuing at step" in texts["default"]
    assert last_step(parent / "default") == checkpoint_steps(parent / "default")[-1] == STEPS


def test_xla_compiles_where_there_is_a_gpu(runs):
    for text in runs[1].values():
        assert "XLA compiles the training step." in text


def test_the_screen_shows_no_messages_of_tensorflow(runs):
    for text in runs[1].values():
        assert not NOISE.search(text), text
