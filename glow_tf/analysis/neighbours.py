"""Nearest neighbours in a data set that is streamed."""

from collections.abc import Iterable

import numpy as np


class NearestNeighbours:
    """Keeps, for each query, the nearest of all points it has been shown.

    Distances are the root mean square over dimensions, so that those of spaces of different size compare.

    Args:
      queries: [Q, D].
      k: how many to keep.

    Attributes:
      indices: [Q, k] int, the numbers of the nearest points in the order they were shown, nearest first; -1 where
        fewer than k points were shown.
      distances: [Q, k], their distances; infinite for -1.
    """

    def __init__(self, queries: np.ndarray, k: int):
        if k < 1:
            raise ValueError(f"k={k} must be at least 1.")
        self._queries = _flat(queries)
        self._shown = 0
        self.indices = np.full([len(queries), k], -1)
        self.distances = np.full([len(queries), k], np.inf)

    def show(self, points: np.ndarray) -> None:
        """Looks at more points, [B, D]."""
        points = _flat(points)
        # |a - b|^2 = |a|^2 - 2 a.b + |b|^2: a matrix product, in float64 for the differences of near ones.
        squares = (self._queries**2).sum(1)[:, np.newaxis] - 2 * self._queries @ points.T + (points**2).sum(1)
        distances = np.sqrt(np.maximum(squares, 0) / points.shape[1])
        numbers = np.broadcast_to(self._shown + np.arange(len(points)), distances.shape)
        distances = np.concatenate([self.distances, distances], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, : self.indices.shape[1]]
        self.distances = np.take_along_axis(distances, order, axis=1)
        self.indices = np.take_along_axis(np.concatenate([self.indices, numbers], axis=1), order, axis=1)
        self._shown += len(points)


def nearest(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points of each query: indices [Q, k] and distances [Q, k]; see `NearestNeighbours`."""
    found = NearestNeighbours(queries, k)
    for block in blocks:
        found.show(block)
    return found.indices, found.distances


def _flat(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points.reshape(len(points), -1)
