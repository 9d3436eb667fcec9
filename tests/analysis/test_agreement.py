"""A classifier that judges moves along attribute directions."""

import numpy as np
import pytest

from glow_tf.analysis.agreement import AttributeClassifier, agreement
from glow_tf.analysis.attributes import Directions, attribute_directions
from glow_tf.analysis.codec import Codec
from tests.analysis import models


def pictures(count, seed):
    """Dark and bright pictures, half of them with a spot in one corner."""
    rng = np.random.default_rng(seed)
    attributes = rng.integers(0, 2, [count, 2])
    images = rng.normal(80, 10, [count, 8, 8, 3]) + 90 * attributes[:, :1, np.newaxis, np.newaxis]
    images[:, :3, :3] += 80 * attributes[:, 1:, np.newaxis, np.newaxis] * [1, -1, 1]
    return np.clip(images, 0, 255).astype(np.uint8), attributes.astype(np.int8)


@pytest.fixture(scope="module")
def classifier():
    judge = AttributeClassifier((8, 8, 3), 2, seed=0)
    images, attributes = pictures(256, seed=1)
    judge.fit(models.displayed(images, 5), attributes, epochs=10)
    return judge


def test_it_learns_what_shows(classifier):
    images, attributes = pictures(100, seed=2)
    assert (classifier(models.displayed(images, 5)) == attributes).mean(axis=0).min() > 0.95


@pytest.mark.slow
def test_the_seed_determines_it():
    images, attributes = pictures(32, seed=3)
    verdicts = []
    for _ in range(2):
        judge = AttributeClassifier((8, 8, 3), 2, seed=4)
        judge.fit(images, attributes, epochs=1)
        verdicts.append(judge(images))
    np.testing.assert_array_equal(*verdicts)


def test_moves_change_their_attribute_and_no_other(classifier):
    codec = Codec(models.flow())
    train, attributes = pictures(256, seed=1)
    batch = {"images": train, "labels": np.zeros(256), "attributes": attributes}
    directions = attribute_directions(codec, [batch], ("bright", "spot"))
    images, attributes = pictures(60, seed=5)
    found = agreement(codec, classifier, directions, images, attributes, scale=1.0)
    assert set(found) == {"bright", "spot"}
    for result in found.values():
        assert min(result.accuracy, result.added, result.removed, result.others_kept) > 0.9
    assert found["spot"].change > 3 * found["spot"].change_elsewhere


def test_no_move_changes_nothing(classifier):
    images, attributes = pictures(20, seed=6)
    still = Directions(("bright", "spot"), np.zeros([2, 192], np.float32), np.ones(2), np.ones(2))
    found = agreement(Codec(models.flow()), classifier, still, images, attributes)
    for i, result in enumerate(found.values()):
        # Nor does the rounding of 8 to 5 bits, as all images are displayed at 5.
        assert (result.change, result.change_elsewhere, result.others_kept) == (0, 0, 1)
        verdicts = classifier(models.displayed(images, 5))[:, i]
        right = [np.mean(verdicts[attributes[:, i] == value] == value) for value in (0, 1)]
        assert result.accuracy == pytest.approx(np.mean(right))
        assert (result.added, result.removed) == pytest.approx(1 - np.array(right))


@pytest.mark.slow
def test_an_attribute_that_no_image_has_is_not_judged(classifier):
    images, attributes = pictures(10, seed=7)
    attributes[:, 1] = 0
    vectors = Directions(("bright", "spot"), np.zeros([2, 192], np.float32), np.ones(2), np.ones(2))
    found = agreement(Codec(models.flow()), classifier, vectors, images, attributes)
    assert np.isnan(found["spot"].removed) and not np.isnan(found["spot"].added)
    # Without such images, it is unknown where the attribute shows.
    assert np.isnan(found["spot"].change) and found["spot"].change_elsewhere == 0
