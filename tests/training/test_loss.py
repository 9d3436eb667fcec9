"""The objective and its parts."""

import math

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training.loss import losses
from tests.training import helpers


def labelled_flow(config=helpers.LABELLED):
    flow = glow_tf.Flow(config, seed=2)
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


def semi_supervised(labels):
    """Returns a model that is not given labels, a batch of six images with `labels`, and its dequantized images."""
    flow = labelled_flow(helpers.GUESSING)
    whole, x, _ = batch(helpers.GUESSING)
    return flow, with_labels(whole, tf.constant(labels)), x


def test_only_labelled_images_have_a_label_loss():
    """The gradient of its mean over a batch is that of the mean over labelled images, computed by hand."""
    labels = [-1, 2, -1, -1, 0, -1]
    flow, whole, x = semi_supervised(labels)
    variables = flow.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        parts = losses(flow, whole, 0.5, 2 / 6)
        label_bits = tf.reduce_mean(parts["label_bits"])
        logits = tf.gather(flow.class_logits(flow.bijector().forward(x)), [1, 4])
        chosen = tf.stack([tf.nn.log_softmax(logits[0])[2], tf.nn.log_softmax(logits[1])[0]])
        expected = -tf.reduce_mean(chosen) / math.log(2)
    np.testing.assert_allclose(label_bits, expected, rtol=1e-5)
    gradients = [tape.gradient(target, variables, unconnected_gradients="zero") for target in (label_bits, expected)]
    assert any(np.abs(gradient).max() > 1e-3 for gradient in gradients[0])
    for gradient, by_hand in zip(*gradients, strict=True):
        np.testing.assert_allclose(gradient, by_hand, rtol=1e-4, atol=1e-5)

    wrong = logits.numpy().argmax(-1) != [2, 0]
    np.testing.assert_allclose(np.mean(parts["label_error"]), wrong.mean(), rtol=1e-6)
    np.testing.assert_array_equal(parts["label_bits"].numpy()[[0, 2, 3, 5]], 0)
    np.testing.assert_allclose(parts["loss"], parts["bits_per_dim"] + 0.5 * parts["label_bits"], rtol=1e-6)


def test_a_batch_without_labels_has_its_likelihood_alone():
    flow, whole, _ = semi_supervised([-1] * 6)
    with tf.GradientTape() as tape:
        parts = losses(flow, whole, 0.5, 0.01)
    np.testing.assert_array_equal(parts["label_bits"], np.zeros(6))
    np.testing.assert_array_equal(parts["loss"], parts["bits_per_dim"])
    gradients = tape.gradient(parts["loss"], flow.trainable_variables, unconnected_gradients="zero")
    assert all(np.isfinite(gradient).all() for gradient in gradients)


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
    """The graph has neither a second pass nor an inverse one."""
    flow = labelled_flow()
    whole, _, _ = batch(helpers.LABELLED)
    graph = tf.function(lambda: losses(flow, whole, 1.0), autograph=False).get_concrete_function().graph
    assert sum(op.type in ("While", "StatelessWhile") for op in graph.get_operations()) <= 1
