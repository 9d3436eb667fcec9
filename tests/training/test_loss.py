"""The objective and its parts."""

import math

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training.loss import losses
from tests.training import helpers


def labelled_flow():
    flow = glow_tf.Flow(helpers.LABELLED, seed=2)
    rng = np.random.default_rng(0)
    for variable in flow.named_variables(trainable=True).values():
        variable.assign_add(rng.normal(0, 0.1, variable.shape).astype(np.float32))
    return flow


def batch(config, count=6):
    batch = next(iter(helpers.batches(1, count, config)))
    return batch, batch["x"], batch["labels"]


def with_labels(batch, labels):
    return {**batch, "labels": labels}


def test_without_a_classifier_the_loss_is_bits_per_dim():
    flow = glow_tf.Flow(helpers.CONFIG)
    whole, x, _ = batch(helpers.CONFIG)
    parts = losses(flow, whole)
    assert set(parts) == {"loss", "bits_per_dim"}
    expected = (192 * 5 * math.log(2) - flow.distribution().log_prob(x).numpy()) / (192 * math.log(2))
    np.testing.assert_allclose(parts["bits_per_dim"], expected, rtol=1e-5)
    np.testing.assert_array_equal(parts["loss"], parts["bits_per_dim"])


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_with_a_classifier(weight):
    flow = labelled_flow()
    whole, x, labels = batch(helpers.LABELLED)
    parts = losses(flow, whole, weight)
    assert {name: part.shape for name, part in parts.items()} == dict.fromkeys(
        ("loss", "bits_per_dim", "label_bits", "label_error"), (6,)
    )
    logits = flow.class_logits(flow.bijector(labels).forward(x), labels).numpy().astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    label_bits = -log_softmax[np.arange(6), labels] / math.log(2)
    np.testing.assert_allclose(parts["label_bits"], label_bits, rtol=1e-5)
    np.testing.assert_array_equal(parts["label_error"], (logits.argmax(-1) != labels.numpy()).astype(float))
    np.testing.assert_allclose(parts["loss"], parts["bits_per_dim"] + weight * label_bits, rtol=1e-5)


def test_the_prior_sees_the_labels():
    flow = labelled_flow()
    whole, _, labels = batch(helpers.LABELLED)
    other = losses(flow, with_labels(whole, (labels + 1) % 3))["bits_per_dim"]
    assert np.all(np.abs(other - losses(flow, whole)["bits_per_dim"]) > 1e-6)


def test_the_labels_given_do_not_show_in_the_logits():
    flow = labelled_flow()
    _, x, labels = batch(helpers.LABELLED)
    logits = [flow.class_logits(flow.bijector(y).forward(x), y) for y in (labels, (labels + 1) % 3)]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


def test_one_evaluation_of_the_flow_serves_both_losses():
    """The graph has no second pass, nor an inverse one."""
    flow = labelled_flow()
    whole, _, _ = batch(helpers.LABELLED)
    graph = tf.function(lambda: losses(flow, whole, 1.0), autograph=False).get_concrete_function().graph
    assert sum(op.type in ("While", "StatelessWhile") for op in graph.get_operations()) <= 1
