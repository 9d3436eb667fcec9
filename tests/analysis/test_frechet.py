"""Fréchet distances between Gaussians whose distance is known."""

import numpy as np
import pytest

from glow_tf.analysis.frechet import Moments, bias, flow_features, frechet_distance
from tests.analysis import models


def moments(mean, covariance):
    """Moments of vectors with exactly this mean and covariance: pairs on both sides of the mean along each axis."""
    mean, dimensions = np.asarray(mean, float), len(mean)
    axes = np.linalg.cholesky(covariance).T * np.sqrt((2 * dimensions - 1) / 2)
    found = Moments(dimensions)
    found.show(np.concatenate([mean + axes, mean - axes]))
    return found


def test_moments_in_batches_are_those_of_all():
    vectors = 1e4 + np.random.default_rng(0).standard_normal([50, 4]) @ np.diag([1, 2, 3, 4])
    found = Moments(4)
    for batch in np.split(vectors, [1, 1, 20]):
        found.show(batch.astype(np.float32))
    assert found.count == 50
    np.testing.assert_allclose(found.mean, vectors.astype(np.float32).astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(vectors.astype(np.float32).astype(float).T), rtol=1e-6)


def test_the_distance_of_one_set_to_itself_is_zero():
    a = moments([1, 2, 3], np.array([[2, 1, 0], [1, 3, 0.5], [0, 0.5, 1]]))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_gaussians_along_one_set_of_axes():
    """|m - n|^2 + sum (s - t)^2, with standard deviations s and t along common axes, which are rotated."""
    s, t = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.5])
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal([3, 3]))
    a = moments([0, 0, 0], turn @ np.diag(s**2) @ turn.T)
    b = moments([3, 0, 4], turn @ np.diag(t**2) @ turn.T)
    expected = 25 + ((s - t) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-10)


def test_gaussians_of_two_dimensions_that_do_not_commute():
    """tr (A B)^1/2 = (tr A B + 2 (det A B)^1/2)^1/2 in two dimensions, by the Cayley-Hamilton theorem."""
    a, b = np.array([[2.0, 0.3], [0.3, 1.0]]), np.array([[1.0, -0.6], [-0.6, 3.0]])
    overlap = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    found = frechet_distance(moments([1, 0], a), moments([0, 0], b))
    assert found == pytest.approx(1 + np.trace(a + b) - 2 * overlap, rel=1e-10)


def test_fewer_vectors_than_dimensions():
    """Two points each on one line: the standard deviations are 2 and 3 along it, and 0 in other directions."""
    found = [Moments(40), Moments(40)]
    for one, deviation in zip(found, (2, 3), strict=True):
        one.show(np.outer([-1, 1], np.eye(40)[0]) * deviation / np.sqrt(2))
    assert frechet_distance(*found) == pytest.approx(1, rel=1e-9)


def test_the_bias_is_the_mean_distance_of_sets_of_one_gaussian():
    rng, deviations, distances = np.random.default_rng(2), np.array([1.0, 2.0, 0.1, 3.0]), []
    for _ in range(300):
        pair = [Moments(4), Moments(4)]
        for one, count in zip(pair, (300, 500), strict=True):
            one.show(rng.standard_normal([count, 4]) * deviations)
        distances.append(frechet_distance(*pair))
    error = np.std(distances) / np.sqrt(len(distances))
    expected = bias(np.diag(deviations**2), 300, 500)
    assert abs(np.mean(distances) - expected) < 4 * error + 0.02 * expected
    assert error < 0.1 * expected


def test_what_has_no_distance_is_refused():
    one = Moments(2)
    one.show(np.ones([1, 2]))
    with pytest.raises(ValueError, match="at least two images; there are 1"):
        frechet_distance(one, one)
    with pytest.raises(ValueError, match="2 dimensions and 3"):
        frechet_distance(moments([0, 0], np.eye(2)), moments([0, 0, 0], np.eye(3)))


def test_features_of_levels_are_means_over_positions():
    flow, images = models.flow(), models.images(3)
    found = {name: values.numpy() for name, values in flow_features(flow)(images, None).items()}
    expected = [level.numpy().mean(axis=(1, 2)) for level in flow.features(images)]
    assert [values.shape for values in found.values()] == [(3, 12), (3, 24), (3, 36)]
    np.testing.assert_allclose(found["level 1"], expected[0], atol=1e-5)
    np.testing.assert_allclose(found["all levels"], np.concatenate(expected, axis=1), atol=1e-5)
