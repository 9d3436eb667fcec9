"""Linear probes on features whose optimal accuracy is known."""

import numpy as np
import pytest

from glow_tf.analysis.probe import linear_probe


def two_blobs(rng, n, dimensions, distance):
    labels = rng.integers(0, 2, n)
    x = rng.normal(size=[n, dimensions])
    x[:, 0] += distance * (2 * labels - 1)
    return x, labels


@pytest.mark.parametrize("dimensions, expected", [(3, 0.841), (400, 0.826)])
def test_the_accuracy_of_two_gaussians(dimensions, expected):
    # For two normal distributions whose means are 2 d apart, here d = 1, a linear classifier learnt from N images in p
    # dimensions is right with probability Phi(d^2 / sqrt(d^2 + p / N)) (Raudys 1967).
    rng = np.random.default_rng(0)
    x, labels = two_blobs(rng, 3000, dimensions, 1.0)
    test, test_labels = two_blobs(rng, 4000, dimensions, 1.0)
    assert linear_probe(x, labels, test, test_labels) == pytest.approx(expected, abs=0.02)


def test_a_good_penalty_is_found_among_rows_sorted_by_class():
    # In nearly as many dimensions as there are images, a classifier with too small a penalty fits the noise.
    rng = np.random.default_rng(0)
    labels, test_labels = np.arange(200) // 20, np.arange(1000) // 100
    x, test = (rng.normal(size=[len(rows), 180]) + 4 * np.eye(10, 180)[rows] for rows in (labels, test_labels))
    small, good, chosen = (
        linear_probe(x, labels, test, test_labels, penalties=penalties) for penalties in ([1e-3], [1.0], [1e-3, 1.0])
    )
    assert chosen == good > small + 0.2


def test_features_without_a_sign_of_the_label():
    rng = np.random.default_rng(0)
    x, test = rng.normal(size=[400, 20]), rng.normal(size=[2000, 20])
    accuracy = linear_probe(x, rng.integers(0, 4, 400), test, rng.integers(0, 4, 2000))
    assert accuracy == pytest.approx(0.25, abs=0.05)


def test_more_dimensions_than_images_equal_fewer():
    # Repeating the features changes nothing but which of the two systems of equations is solved.
    rng = np.random.default_rng(0)
    x, labels = two_blobs(rng, 100, 10, 0.7)
    test, test_labels = two_blobs(rng, 500, 10, 0.7)
    few = linear_probe(x, labels, test, test_labels, penalties=[1.0])
    many = linear_probe(np.tile(x, 20), labels, np.tile(test, 20), test_labels, penalties=[20.0])
    assert few == many


def test_labels_are_any_numbers_and_features_any_shape():
    rng = np.random.default_rng(0)
    labels = rng.choice([3, 8, 11], 60)
    x = np.zeros([60, 2, 2, 1], np.float32)
    x[:, 0, 0, 0] = labels == 8
    x[:, 1, 1, 0] = labels == 11
    assert linear_probe(x, labels, x, labels) == 1.0
    # A class without training images is never predicted.
    assert linear_probe(x, labels, x, np.full(60, 5)) == 0.0


@pytest.mark.parametrize("labels", [[0, 1, 0, 1], [2] * 8])
def test_too_little_to_learn_from(labels):
    x = np.zeros([len(labels), 2])
    with pytest.raises(ValueError, match="two classes"):
        linear_probe(x, labels, x, labels)
