"""Dropout in networks: drawn only in training, from the seed and the step number, and the same in a continued run."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.data import test_batches
from glow_tf.export.served_flow import ServedFlow
from glow_tf.layers import Flatten, Steps
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.loss import losses
from tests.extending.my_parts import Dense
from tests.marks import slow
from tests.training import helpers
from tests.training.runs import ONE_DEVICE, assert_same_weights, make_source, stop_at, train

pytestmark = pytest.mark.usefixtures("untraced", "short_timing")


def config(dropout, dequantizer=None):
    steps = Steps(depth=2, network=Dense(width=16, dropout=dropout), permutation="reverse")
    return glow_tf.ModelConfig(
        name="dropout",
        image_shape=(4, 4, 3),
        layers=(Flatten(), steps),
        dequantizer=dequantizer or glow_tf.dequantization.Uniform(n_bits=5),
    )


def randomize(flow):
    """Changes the weights, as networks output zero in the first step, whatever they drop."""
    rng = np.random.default_rng(0)
    for variable in flow.named_variables(trainable=True).values():
        variable.assign_add(0.3 * rng.standard_normal(variable.shape))


def losses_on_one_batch(*, steps=1, copies=1, strategy=None, **fields):
    """Returns the losses of steps that change nothing, on the same 4 images, or `copies` of them, in each step."""
    fields = helpers.training(batch_size=4 * copies, learning_rate=1e-20, **fields)
    run = helpers.Run(fields, config(0.5), strategy=strategy)
    randomize(run.flow)
    (batch,) = helpers.batches(1, 4, helpers.TINY)
    batch = {name: tf.concat([values] * copies, 0) for name, values in batch.items()}
    rows = tf.data.Dataset.from_tensor_slices(batch).repeat().batch(4 * copies, drop_remainder=True)
    iterator = iter(run.strategy.experimental_distribute_dataset(rows))
    return run.train(iterator, tf.constant(steps))["loss"].numpy()


def test_steps_of_training_drop():
    """Each draws other numbers; the first is unaffected, as networks output zero in it."""
    losses_of = {}
    for dropout in (0.0, 0.5):
        run = helpers.Run(helpers.training(), config(dropout))
        losses_of[dropout] = run.train(run.iterator, tf.constant(3))["loss"].numpy()
    plain, dropped = losses_of.values()
    assert dropped[0] == plain[0]
    assert np.all(dropped[1:] != plain[1:])


def test_each_step_and_each_seed_drops_other_numbers():
    first, second = (losses_on_one_batch(steps=3, seed=seed) for seed in (0, 1))
    assert len({*first, *second}) == 6
    # A run of the same seed drops the same.
    assert losses_on_one_batch()[0] == first[0]


@pytest.mark.parametrize("kind", ["parts", slow("replicas")])
def test_each_part_and_each_replica_drops_other_numbers(kind):
    """Otherwise the loss of two equal halves would be that of one."""
    halves = {"accumulate_steps": 2} if kind == "parts" else {"strategy": helpers.two_replicas()}
    (half,), (both,) = losses_on_one_batch(), losses_on_one_batch(copies=2, **halves)
    assert abs(both - half) > 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording(Dense):
    """A network that records the seeds that it gets."""

    seeds: ClassVar[list] = []

    def apply(self, tensors, x, context=None, training=False, seed=None):
        self.seeds.append(tuple(seed.numpy().tolist()))
        return super().apply(tensors, x, context, training, seed)


def test_each_flow_step_of_each_layer_drops_other_numbers():
    steps = Steps(depth=3, network=Recording(width=4, dropout=0.5), permutation="reverse")
    flow = glow_tf.Flow(dataclasses.replace(config(0.5), layers=(Flatten(), steps, steps)))
    batch = next(iter(helpers.batches(1, 4, helpers.TINY)))
    Recording.seeds.clear()
    losses(flow, batch, training=True, seed=tf.constant([0, 1]))
    assert len(Recording.seeds) == len(set(Recording.seeds)) == 6


def test_the_gradients_for_a_loop_of_ones_own_drop():
    """In each shard other numbers, as its parts are equal here."""
    images = helpers.random_images(4, helpers.TINY).astype(np.float32) / 256 - 0.5

    def value(dropout, copies, shards):
        model = config(dropout, glow_tf.dequantization.Continuous())
        flow = glow_tf.Flow(model, runtime=Runtime(device="CPU", shards=shards))
        randomize(flow)
        return float(flow.value_and_gradients(np.concatenate([images] * copies), seed=0)[0])

    plain, half, whole = value(0.0, 1, 1), value(0.5, 1, 1), value(0.5, 2, 2)
    assert value(0.0, 2, 2) == pytest.approx(plain, rel=1e-5)
    assert abs(half - plain) > 1e-3 and abs(whole - half) > 1e-3


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
