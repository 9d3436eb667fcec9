"""Nearest neighbours against brute-force search."""

import numpy as np
import pytest

from glow_tf.analysis.neighbours import NearestNeighbours, nearest

RNG = np.random.default_rng(0)
QUERIES, POINTS = RNG.normal(size=[5, 2, 3]), RNG.normal(size=[23, 2, 3])
DISTANCES = np.sqrt(((QUERIES[:, np.newaxis] - POINTS) ** 2).mean(axis=(2, 3)))


@pytest.mark.parametrize("size", [1, 7, 23])
@pytest.mark.parametrize("k", [1, 4])
def test_blocks_of_any_size_give_the_nearest(size, k):
    blocks = [POINTS[start : start + size] for start in range(0, 23, size)]
    indices, distances = nearest(QUERIES, blocks, k)
    np.testing.assert_array_equal(indices, DISTANCES.argsort(axis=1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(DISTANCES, axis=1)[:, :k], rtol=1e-9)


def test_a_point_that_is_the_query_is_at_no_distance():
    pictures = RNG.integers(0, 256, [6, 8, 8, 3], np.uint8)
    indices, distances = nearest(pictures[[4]], [pictures])
    assert (indices[0, 0], distances[0, 0]) == (4, 0)


def test_fewer_points_than_asked_for():
    found = NearestNeighbours(QUERIES, 3)
    found.show(POINTS[:2])
    assert set(found.indices[0]) == {-1, 0, 1} and found.indices[0, 2] == -1
    assert np.isinf(found.distances[:, 2]).all()


def test_none_cannot_be_asked_for():
    with pytest.raises(ValueError, match="k=0"):
        NearestNeighbours(QUERIES, 0)
