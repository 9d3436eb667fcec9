"""Every kind of model takes a training step on a GPU, and the same one with XLA."""

import numpy as np
import pytest

from glow_tf.training.devices import make_strategy
from tests.gpu.patience import within
from tests.gpu.runs import Run
from tests.runtime.test_layout import MODELS
from tests.training import helpers

NAMES = [name for name in MODELS if "stored" not in name]


def step(config, xla):
    """The metrics of a step, and the weights before and after it."""
    weight = 0.5 if config.classifier else 0.0
    training = helpers.training(xla=xla, label_loss_weight=weight)
    run = Run(training, config, strategy=make_strategy("one_device"), steps=1)
    before = run.weights()
    return run(1), before, run.weights()


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step(name):
    (plain, *_), (compiled, before, after) = (within(lambda xla=xla: step(MODELS[name], xla)) for xla in (False, True))
    assert plain["finite"] == compiled["finite"] == 1
    assert all(np.isfinite(weights).all() for weights in after)
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
    # The order of float32 sums differs.
    for key, value in plain.items():
        np.testing.assert_allclose(compiled[key], value, rtol=1e-3 if key == "gradient_norm" else 1e-4, err_msg=key)
