"""Dropout in networks: drawn only in training, from the seed and the step number, and the same in a continued run."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.data import test_batches
from glow_tf.export.served_flow import ServedFlow
from glow_tf.layers import Flatten, Steps
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.loss import losses
from tests.extending.my_parts import Dense
from tests.training import helpers
from tests.training.runs import ONE_DEVICE, assert_same_weights, make_source, stop_at, train

pytestmark = pytest.mark.usefixtures("untraced", "short_timing")


def config(dropout):
    steps = Steps(depth=2, network=Dense(width=16, dropout=dropout), permutation="reverse")
    dequantizer = glow_tf.dequantization.Uniform(n_bits=5)
    return glow_tf.ModelConfig(
        name="dropout", image_shape=(4, 4, 3), layers=(Flatten(), steps), dequantizer=dequantizer
    )


def test_steps_of_training_drop():
    """Each draws other numbers; the first is unaffected, as networks output zero in it."""
    losses_of = {}
    for dropout in (0.0, 0.5):
        run = helpers.Run(helpers.training(), config(dropout))
        losses_of[dropout] = run.train(run.iterator, tf.constant(3))["loss"].numpy()
    plain, dropped = losses_of.values()
    assert dropped[0] == plain[0]
    assert np.all(dropped[1:] != plain[1:])


def test_nothing_but_training_drops(tmp_path, traced):
    """Evaluations, samples and exports are those of the same weights without dropout."""
    plain, dropping = (glow_tf.Flow(config(dropout), seed=1) for dropout in (0.0, 0.5))
    rng = np.random.default_rng(0)
    for path, variable in plain.named_variables(trainable=True).items():
        variable.assign_add(0.3 * rng.standard_normal(variable.shape))
        dropping.named_variables()[path].assign(variable)
    source = make_source(tmp_path, helpers.TINY)
    images = helpers.random_images(4, helpers.TINY)

    def found(flow):
        batches = dequantized_for_evaluation(test_batches(source, 4), flow.config)
        served = ServedFlow(flow)
        return [
            Evaluator(flow, ONE_DEVICE)(batches).mean,
            flow.sample(4, seed=1).numpy(),
            flow.decode(flow.encode(images)).numpy(),
            served.log_prob(images)["bits_per_dim"].numpy(),
            served.sample(4)["images"].numpy(),
        ]

    for a, b in zip(found(plain), found(dropping), strict=True):
        np.testing.assert_array_equal(a, b)
    batch = next(iter(helpers.batches(1, 4, helpers.TINY)))
    options = {"training": True, "seed": tf.constant([0, 1])}
    assert np.all(losses(plain, batch, **options)["loss"] != losses(dropping, batch, **options)["loss"])


@pytest.mark.slow
def test_a_continued_run_drops_the_same(tmp_path, monkeypatch):
    model = config(0.5)
    source = make_source(tmp_path, model)
    fields = {"steps": 6, "log_every": 6, "lr_schedule": "linear", "optimizer": "adamw", "weight_decay": 0.1}
    through, expected = train(tmp_path / "through", source, model, **fields)
    stop_at(monkeypatch, tmp_path / "pieces", source, 3, model, **fields)
    again, result = train(tmp_path / "pieces", source, model, **fields)
    assert result == expected
    assert_same_weights(through, again)
