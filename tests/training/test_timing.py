"""How long a step takes: seconds that are there, and of the step that is asked about."""

import pytest

from glow_tf.training.timing import time_steps
from tests.training import helpers


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_first_step_holds_the_tracing(replicas):
    strategy = helpers.two_replicas() if replicas == 2 else helpers.one_device()
    timing = time_steps(helpers.TINY, helpers.training(batch_size=8), strategy, steps=2)
    assert 0 < timing.step < timing.first_step
    assert timing.build > 0
    # Two networks that see the whole vector, half of it blanked, 48 -> 8 -> 48 with biases; a scale for each dimension.
    assert timing.weights == 4 * (2 * (48 * 8 + 8 + 8 * 48 + 48) + 48)
