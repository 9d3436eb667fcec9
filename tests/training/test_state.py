"""The counters and sums of a run."""

import math

import pytest

from glow_tf.training.state import RunState


def test_means_are_of_all_steps_since_the_last_ones():
    state = RunState(["loss", "norm"])
    state.add({"loss": 3.0, "norm": 10.0}, 1)
    state.add({"loss": 9.0, "norm": 2.0}, 3)
    assert state.take_means() == {"loss": 3.0, "norm": 3.0}
    state.add({"loss": 5.0, "norm": 1.0}, 1)
    assert state.take_means() == {"loss": 5.0, "norm": 1.0}


def test_no_steps_have_no_means():
    state = RunState(["loss"])
    assert state.take_means() == {}
    # All updates of a period were skipped.
    state.add({"loss": 0.0}, 0)
    assert state.take_means() == {}


def test_sums_are_of_double_precision():
    state = RunState(["loss"])
    for _ in range(1000):
        state.add({"loss": 0.1}, 1)
    assert state.take_means()["loss"] == pytest.approx(0.1, rel=1e-12)


def test_counters():
    state = RunState([])
    assert (state.count("skipped"), state.count("skipped", 4), state.count("rollbacks")) == (1, 5, 1)
    assert (int(state.skipped), int(state.rollbacks), int(state.step)) == (5, 1, 0)
    assert math.isinf(float(state.best_bits_per_dim))
