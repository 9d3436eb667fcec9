"""Means and standard errors of bits/dim, over whole and partial batches, on one device and on two."""

import math

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.models.likelihood import likelihood
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluation, Evaluator
from glow_tf.training.loss import losses
from tests.marks import slow
from tests.training import helpers

pytestmark = pytest.mark.usefixtures("untraced")


def make(config=helpers.CONFIG, strategy=None, shards=1):
    strategy = strategy or tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        flow = glow_tf.Flow(config, seed=3, runtime=Runtime(shards=shards))
        flow.initialize(helpers.random_images(16, config))
        for variable in flow.classifier.values():
            rng = np.random.default_rng(0)
            variable.assign(rng.normal(0, 0.3, variable.shape).astype(np.float32))
    return flow, Evaluator(flow, strategy)


def partial_batches(config, count, size):
    """Returns `count` images in one batch, and in batches of `size`, the last maybe smaller, with the same noise."""
    (whole,) = helpers.batches(1, count, config)
    dataset = tf.data.Dataset.from_tensor_slices(whole).batch(size)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return whole, dataset.with_options(options)


@pytest.mark.parametrize(
    ("config", "at_once"),
    [
        (helpers.CONFIG, 1),
        (helpers.LABELLED, 3),
        *(slow(case) for case in ((helpers.CONFIG, 2), (helpers.CONFIG, 3), (helpers.LABELLED, 1))),
    ],
)
def test_mean_and_standard_error_by_hand(request, config, at_once):
    if at_once > 1:
        # Shards need a graph.
        request.getfixturevalue("traced")
    flow, evaluator = make(config, shards=at_once)
    whole, dataset = partial_batches(config, 11, 4)
    result = evaluator(dataset)
    parts = losses(flow, whole)
    values = parts["bits_per_dim"].numpy().astype(np.float64)
    mean = values.sum() / 11
    assert result.images == 11
    np.testing.assert_allclose(result.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(result.standard_error, math.sqrt(((values - mean) ** 2).sum() / 10 / 11), rtol=1e-4)
    by_hand = likelihood(flow, whole["x"], whole["log_q"], whole["labels"]).parts
    assert result.parts.keys() == by_hand.keys()
    for name, part in by_hand.items():
        np.testing.assert_allclose(result.parts[name], np.mean(part), rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(sum(result.parts.values()), result.mean, rtol=1e-6)
    np.testing.assert_allclose(result.parts["dequantization"], config.n_bits, rtol=1e-6)
    if config.classifier:
        np.testing.assert_allclose(result.label_error, np.mean(parts["label_error"]), rtol=1e-6)
    else:
        assert result.label_error is None


@pytest.mark.parametrize(
    ("count", "size", "at_once"),
    [(9, 4, 1), *(slow(case) for case in ((11, 4, 1), (6, 6, 1), (11, 4, 2), (9, 4, 2), (6, 6, 2)))],
)
def test_two_replicas_find_what_one_finds(count, size, at_once):
    """With 9 images in batches of 4, the last batch holds one, which leaves a replica with none."""
    _, one = make(helpers.TINY, shards=at_once)
    _, two = make(helpers.TINY, helpers.two_replicas(), shards=at_once)
    _, dataset = partial_batches(helpers.TINY, count, size)
    a, b = one(dataset), two(dataset)
    assert (a.images, b.images) == (count, count)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-6)
    np.testing.assert_allclose(a.standard_error, b.standard_error, rtol=1e-4)
    assert a.parts == pytest.approx(b.parts, rel=1e-5, abs=1e-6)


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
    _, evaluator = make(helpers.TINY)
    result = evaluator(partial_batches(helpers.TINY, 1, 4)[1])
    assert result.images == 1
    assert math.isnan(result.standard_error)


def test_it_is_what_the_flow_says_itself():
    """In batches of any size."""
    flow, evaluator = make(helpers.TINY)
    images = helpers.random_images(12, helpers.TINY, seed=2)
    expected = np.mean(flow.bits_per_dim(images, seed=3))
    for size in (4, 5, 12):
        batches = tf.data.Dataset.from_tensor_slices({"images": images, "labels": np.zeros(12, np.int32)}).batch(size)
        result = evaluator(dequantized_for_evaluation(batches, helpers.TINY, seed=3))
        np.testing.assert_allclose(result.mean, expected, rtol=1e-6)


def test_it_can_be_interrupted_between_two_batches():
    seen = []

    def before_batch():
        seen.append(len(seen))
        if len(seen) == 3:
            raise KeyboardInterrupt

    flow, _ = make(helpers.TINY)
    evaluator = Evaluator(flow, tf.distribute.OneDeviceStrategy("CPU:0"), before_batch)
    with pytest.raises(KeyboardInterrupt):
        evaluator(helpers.batches(4, 4, helpers.TINY))
    assert len(seen) == 3


def test_no_images():
    _, evaluator = make(helpers.TINY)
    with pytest.raises(ValueError, match="no images"):
        evaluator(helpers.batches(1, 4).take(0))


def test_as_text():
    assert str(Evaluation(mean=3.35149, standard_error=0.0127, images=10000)) == "3.351 +- 0.013 (10,000 images)"
    assert str(Evaluation(mean=3.35149, standard_error=math.nan, images=1)) == "3.351 (1 image)"
