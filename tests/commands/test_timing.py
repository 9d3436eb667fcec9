"""Timing of training steps: the times, the steps that are timed, and peak memory."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.commands import timing
from glow_tf.commands.timing import peak_memory, time_steps, training_step
from tests.marks import slow
from tests.training import helpers


@pytest.mark.parametrize("replicas", [1, slow(2)])
def test_the_first_step_holds_the_tracing(replicas):
    strategy = helpers.two_replicas() if replicas == 2 else helpers.one_device()
    found = time_steps(helpers.TINY, helpers.training(batch_size=8), strategy, steps=2)
    assert 0 < found.step < found.first_step
    assert found.build > 0
    # Two networks that see the whole vector, half of it masked, 48 -> 8 -> 48 with biases; one scale per dimension.
    assert found.weights == 4 * (2 * (48 * 8 + 8 + 8 * 48 + 48) + 48)


def test_no_step_is_timed_after_the_limit(monkeypatch):
    clock, calls = [0.0], []

    def step():
        calls.append(1)
        clock[0] += 10.0

    monkeypatch.setattr(timing.time, "monotonic", lambda: clock[0])
    flow, _ = training_step(helpers.TINY, helpers.training(batch_size=8), helpers.one_device())
    monkeypatch.setattr(timing, "training_step", lambda *_, **__: (flow, step))
    found = time_steps(helpers.TINY, helpers.training(batch_size=8), helpers.one_device(), steps=5, limit_s=15.0)
    # The first step, and two timed ones.
    assert len(calls) == 3 and found.step == 10.0


@pytest.mark.parametrize("replicas", [1, slow(2)])
def test_a_batch_that_stays_on_the_devices_is_the_first_one_of_the_pipeline(replicas):
    strategy = helpers.two_replicas() if replicas == 2 else helpers.one_device()
    weights = []
    for resident in (True, False):
        flow, step = training_step(helpers.TINY, helpers.training(batch_size=8), strategy, resident=resident)
        before = [v.numpy() for v in flow.trainable_variables]
        step()
        weights.append([v.numpy() for v in flow.trainable_variables])
        assert any((old != new).any() for old, new in zip(before, weights[-1], strict=True))
        step()
    for kept, piped in zip(*weights, strict=True):
        np.testing.assert_allclose(kept, piped, rtol=1e-6, atol=1e-7)


def test_the_peak_of_memory_is_that_since_it_was_last_asked():
    if peak_memory("CPU:0") is None:
        pytest.skip("TensorFlow does not tell the memory of this CPU; TF_ENABLE_ONEDNN_OPTS=1 may help.")
    in_use = peak_memory("/job:localhost/replica:0/task:0/device:CPU:0")
    large = tf.zeros([2**20]) + 1.0
    assert peak_memory("CPU:0") >= in_use + 4 * 2**20
    del large
    peak_memory("CPU:0")
    assert peak_memory("CPU:0") < in_use + 4 * 2**20
