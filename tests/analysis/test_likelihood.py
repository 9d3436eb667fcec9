"""Scores of individual images."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import Flow
from glow_tf.analysis.likelihood import Scorer, round_trips
from glow_tf.dequantization import Continuous
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluator
from tests.analysis import models
from tests.marks import mostly_slow, slow


def batches(count, size, name="plain"):
    pictures, labels = models.images(count, name), np.arange(count, dtype=np.int32) % 3
    return [{"images": pictures[i : i + size], "labels": labels[i : i + size]} for i in range(0, count, size)]


def log_density(flow, batch, seed):
    """log p(x + u) in nats, with noise u drawn from `seed`."""
    x = flow.dequantize(batch["images"], batch["labels"] if flow.config.conditional else None, seed)[0]
    labels = batch["labels"] if flow.config.conditional else None
    return flow.distribution(labels).log_prob(x).numpy().astype(np.float64)


@pytest.mark.parametrize(
    ("name", "at_once"),
    [
        *(("plain", 1), ("conditional", 2)),
        *(slow(case) for case in (("plain", 2), ("grey", 1), ("grey", 2), ("conditional", 1))),
    ],
)
def test_the_bound_by_hand(request, name, at_once):
    if at_once > 1:
        # Shards need a graph.
        request.getfixturevalue("traced")
    flow, data = models.flow(name, shards=at_once), batches(5, 3, name)
    scores = Scorer(flow)(data, draws=4, seed=10)
    dimensions, n_bits = flow.config.dimensions, flow.config.n_bits
    for draws, found in ((1, scores.bits_per_dim), (4, scores.importance_weighted)):
        expected = []
        for batch in data:
            nats = np.stack([log_density(flow, batch, 10 + draw) for draw in range(draws)])
            bound = np.log(np.exp(nats - nats.max(0)).mean(0)) + nats.max(0)
            expected.append((dimensions * n_bits * math.log(2) - bound) / (dimensions * math.log(2)))
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5)


def test_scores_do_not_depend_on_the_batches():
    flow = models.flow()
    scores = Scorer(flow)(batches(6, 6), draws=2)
    for size in (1, 4):
        others = Scorer(flow)(batches(6, size), draws=2)
        np.testing.assert_allclose(others.bits_per_dim, scores.bits_per_dim, rtol=1e-5)
        np.testing.assert_allclose(others.importance_weighted, scores.importance_weighted, rtol=1e-5)
    np.testing.assert_allclose(flow.bits_per_dim(models.images(6), seed=0), scores.bits_per_dim, rtol=1e-5)


def test_images_alone():
    flow, pictures = models.flow(), models.images(5)
    alone = [{"images": pictures[:3]}, {"images": pictures[3:]}]
    np.testing.assert_allclose(Scorer(flow)(alone).bits_per_dim, flow.bits_per_dim(pictures), rtol=1e-5)
    np.testing.assert_array_equal(round_trips(flow, alone), round_trips(flow, batches(5, 3)))
    for call in (Scorer(models.flow("conditional")), lambda given: round_trips(models.flow("conditional"), given)):
        with pytest.raises(ValueError, match="This model is conditional: labels in 0 .. 2 are needed"):
            call(alone)


def test_one_draw_has_the_plain_figure_for_bound():
    scores = Scorer(models.flow())(batches(4, 2))
    np.testing.assert_array_equal(scores.importance_weighted, scores.bits_per_dim)


def test_parts_add_up_to_the_whole():
    flow = models.flow()
    scores = Scorer(flow)(batches(4, 4))
    levels = {f"{kind}/level_{level}" for kind in ("log_det", "prior") for level in (1, 2)}
    assert set(scores.parts) == {*levels, "dequantization"}
    np.testing.assert_allclose(sum(scores.parts.values()), scores.bits_per_dim, rtol=1e-5)


@pytest.mark.parametrize("name", ["plain", slow("classifier")])
def test_the_figures_are_those_of_an_evaluation_in_training(name):
    flow, data = models.flow(name), batches(7, 3)
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(data),
        output_signature={
            "images": tf.TensorSpec([None, 8, 8, 3], tf.uint8),
            "labels": tf.TensorSpec([None], tf.int32),
        },
    )
    evaluation = Evaluator(flow, tf.distribute.OneDeviceStrategy("CPU:0"))(
        dequantized_for_evaluation(dataset, flow.config)
    )
    scores = Scorer(flow)(data)
    assert scores.bits_per_dim.mean() == pytest.approx(evaluation.mean, abs=1e-6)
    if name == "plain":
        assert scores.predicted is None
    else:
        labels = np.concatenate([batch["labels"] for batch in data])
        assert np.mean(scores.predicted != labels) == pytest.approx(evaluation.label_error)
        assert 0 < evaluation.label_error < 1


@pytest.mark.parametrize(("name", "log_density"), [("plain", "normal"), ("logistic", "logistic")])
def test_the_density_of_the_latent_by_hand(name, log_density):
    flow, data = models.flow(name), batches(3, 3, name)
    x = flow.dequantize(data[0]["images"])[0]
    z = flow.bijector().forward(x).numpy().astype(np.float64)
    expected = {
        "normal": -0.5 * z**2 - 0.5 * math.log(2 * math.pi),
        "logistic": -z - 2 * np.log1p(np.exp(-z)),
    }[log_density]
    np.testing.assert_allclose(Scorer(flow)(data).latent_nats, expected.mean(axis=1), rtol=1e-4)


def test_nothing_to_score():
    for none in ([], batches(1, 1)[:0], [{"images": models.images(2)[:0]}]):
        for call in (Scorer(models.flow()), functools.partial(round_trips, models.flow())):
            with pytest.raises(ValueError, match="no images"):
                call(none)
    (found,) = Scorer(models.flow())([{"images": models.images(1)[:0]}, *batches(1, 1)]).bits_per_dim
    assert found == Scorer(models.flow())(batches(1, 1)).bits_per_dim
    with pytest.raises(ValueError, match="draws=0"):
        Scorer(models.flow())(batches(1, 1), draws=0)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "plain",
            lambda images: np.float32(images / 255),
            "must be uint8 with values from 0 to 255; these are float32",
        ),
        ("plain", lambda images: images.astype(np.uint16) * 257, "must be uint8 .* these are uint16"),
        ("plain", lambda images: images[:, :4], r"must have shape \[B, 8, 8, 3\]; these have \(4, 4, 8, 3\)"),
        ("plain", lambda images: images[..., :1], r"must have shape \[B, 8, 8, 3\]; these have \(4, 8, 8, 1\)"),
        ("continuous", lambda images: images, "a model of real numbers, which must be floats; these are uint8"),
    ],
)
def test_images_are_checked(name, change, message, traced):
    flow = Flow(dataclasses.replace(models.PLAIN, dequantizer=Continuous())) if name == "continuous" else models.flow()
    images = change(models.images(4))
    # Also after others of the right shape, as functions are traced for several shapes at once.
    for before in [batches(2, 2)] if name == "plain" else [[], [{"images": np.float32(models.images(2)) / 256}]]:
        for call in (Scorer(flow), functools.partial(round_trips, flow)):
            with pytest.raises(ValueError, match=message):
                call([*before, {"images": images}])


def test_there_is_one_label_for_each_image_or_for_all():
    flow, images = models.flow("conditional"), models.images(3, "conditional")
    for call in (Scorer(flow), functools.partial(round_trips, flow)):
        for labels in ([1], [0, 1], [[0], [1], [2]]):
            with pytest.raises(ValueError, match=r"Labels must have shape \[\] or \[3\]"):
                call([{"images": images, "labels": labels}])
        with pytest.raises(ValueError, match="whole numbers"):
            call([{"images": images, "labels": [0.9, 1.0, 2.0]}])
    expected = flow.bits_per_dim(images, [1, 1, 1])
    np.testing.assert_allclose(Scorer(flow)([{"images": images, "labels": 1}]).bits_per_dim, expected, rtol=1e-5)


@pytest.mark.parametrize("name", mostly_slow(models.CONFIGS, ["grey"]))
def test_round_trips_are_one_for_each_image(name):
    errors = round_trips(models.flow(name), batches(5, 2, name))
    assert errors.shape == (5,)
    assert 0 < errors.max() < 1e-3
