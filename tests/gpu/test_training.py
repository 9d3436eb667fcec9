"""All variants of the training step on a GPU: it terminates, it learns, and both gradients agree."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training.devices import distributed, make_strategy
from tests.gpu import sizes
from tests.gpu.patience import within
from tests.gpu.runs import Run
from tests.models.flows import randomise
from tests.runtime.test_tf32 import distance
from tests.training import helpers

STEPS = 20
# Every pair of values of any two options occurs.
FORMS = [
    ("one_device", "xla", "float32", 1),
    ("mirrored", "plain", "float32", 2),
    ("mirrored", "xla", "tf32", 2),
    ("one_device", "plain", "tf32", 1),
    ("mirrored", "xla", "bfloat16", 1),
    ("one_device", "plain", "bfloat16", 2),
]
# Maximum distance between the two gradients: as in tests/runtime/test_tf32.py if the networks compute in float32.
# Otherwise the rebuilt input, which differs in its last bits, is occasionally rounded to another number in a network.
DISTANCE = {"float32": 5e-3, "tf32": 5e-2, "bfloat16": 5e-2}


def test_batches_are_ready_on_the_gpu():
    strategy = make_strategy("mirrored")
    batch = next(distributed(strategy, tf.data.Dataset.from_tensors(tf.zeros([8, 3])).repeat()))
    assert all("GPU:" in part.device for part in strategy.experimental_local_results(batch))


def trained(gradient, strategy, xla, precision, parts):
    """The gradient of the first step, and the losses of the steps after it, which run in one call."""
    training = helpers.training(
        batch_size=sizes.SMALL_BATCH, accumulate_steps=parts, xla=xla == "xla", network_precision=precision
    )
    config = glow_tf.glow(**sizes.SMALL, gradient=gradient)
    strategy = make_strategy(strategy)
    assert sizes.DEVICE in strategy.extended.worker_devices[0]
    run = Run(training, config, strategy=strategy, steps=STEPS + 1)
    with strategy.scope():
        randomise(run.flow, scale=0.02)
    first = run.train(run.iterator, tf.constant(1))
    assert first["finite"].numpy().all()
    # Adamax's first moment, a fixed multiple of the first gradient.
    moments = [v.numpy() for v in run.optimizer.variables if v.name.endswith("_momentum")]
    assert len(moments) == len(run.variables)
    return moments, run.train(run.iterator, tf.constant(STEPS))["loss"].numpy()


@pytest.mark.parametrize(("strategy", "xla", "precision", "parts"), FORMS)
def test_training(strategy, xla, precision, parts):
    found = {
        gradient: within(lambda gradient=gradient: trained(gradient, strategy, xla, precision, parts))
        for gradient in ("reversible", "stored")
    }
    for _, losses in found.values():
        assert len(losses) == STEPS and np.isfinite(losses).all()
        assert losses[-5:].mean() < losses[:5].mean() - 0.1
    gradients = [gradient for gradient, _ in found.values()]
    assert 0 < tf.linalg.global_norm(gradients[1])
    assert distance(*gradients) < DISTANCE[precision]
