"""Means and standard errors of bits/dim, over whole and partial batches, on one device and on two."""

import math

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training.evaluation import Evaluation, Evaluator
from glow_tf.training.loss import losses
from tests.training import helpers


def make(config=helpers.CONFIG, strategy=None):
    strategy = strategy or tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        flow = glow_tf.Flow(config, seed=3)
        flow.initialize(helpers.random_images(16, config))
        for variable in flow.classifier.values():
            rng = np.random.default_rng(0)
            variable.assign(rng.normal(0, 0.3, variable.shape).astype(np.float32))
    return flow, Evaluator(flow, strategy)


def partial_batches(config, count, size):
    """`count` images in batches of `size`, the last of which may be smaller, with noise that ignores the batches."""
    (whole,) = helpers.batches(1, count, config)
    dataset = tf.data.Dataset.from_tensor_slices(whole).batch(size)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return whole, dataset.with_options(options)


@pytest.mark.parametrize("config", [helpers.CONFIG, helpers.LABELLED])
def test_mean_and_standard_error_by_hand(config):
    flow, evaluator = make(config)
    whole, dataset = partial_batches(config, 11, 4)
    result = evaluator(dataset)
    parts = losses(flow, whole["x"], whole["labels"], 0.0)
    values = parts["bits_per_dim"].numpy().astype(np.float64)
    mean = values.sum() / 11
    assert result.images == 11
    np.testing.assert_allclose(result.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(result.standard_error, math.sqrt(((values - mean) ** 2).sum() / 10 / 11), rtol=1e-4)
    if config.classifier:
        np.testing.assert_allclose(result.label_error, np.mean(parts["label_error"]), rtol=1e-6)
    else:
        assert result.label_error is None


@pytest.mark.parametrize(("count", "size"), [(11, 4), (9, 4), (6, 6)])
def test_two_replicas_find_what_one_finds(count, size):
    """Of 9 images in batches of 4 the last batch holds one, and leaves a replica with none."""
    _, one = make()
    _, two = make(strategy=helpers.two_replicas())
    _, dataset = partial_batches(helpers.CONFIG, count, size)
    a, b = one(dataset), two(dataset)
    assert (a.images, b.images) == (count, count)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-6)
    np.testing.assert_allclose(a.standard_error, b.standard_error, rtol=1e-4)


def test_an_evaluator_sees_the_weights_change():
    flow, evaluator = make()
    _, dataset = partial_batches(helpers.CONFIG, 4, 4)
    before = evaluator(dataset)
    assert evaluator(dataset) == before
    for path, variable in flow.named_variables().items():
        if path.endswith("actnorm/bias"):
            variable.assign_add(tf.ones_like(variable))
    assert abs(evaluator(dataset).mean - before.mean) > 0.1


def test_one_image_has_no_standard_error():
    _, evaluator = make()
    result = evaluator(partial_batches(helpers.CONFIG, 1, 4)[1])
    assert result.images == 1
    assert math.isnan(result.standard_error)


def test_no_images():
    _, evaluator = make()
    with pytest.raises(ValueError, match="no images"):
        evaluator(helpers.batches(1, 4).take(0))


def test_as_text():
    assert str(Evaluation(mean=3.35149, standard_error=0.0127, images=10000)) == "3.351 +- 0.013 (10,000 images)"
