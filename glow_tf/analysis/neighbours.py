"""Nearest neighbours in a streamed data set."""

from collections.abc import Iterable

import numpy as np


class NearestNeighbours:
    """Keeps the points of a stream that are nearest to each query.

    Distances are the root mean square over dimensions, so that spaces of different dimension are comparable.

    Args:
      queries: [Q, D].
      k: number of points to keep.

    Attributes:
      indices: [Q, k] int, positions of the nearest points in the stream, nearest first; -1 if there are fewer than k.
      distances: [Q, k], their distances; infinite where the index is -1.
    """

    def __init__(self, queries: np.ndarray, k: int):
        if k < 1:
            raise ValueError(f"k={k} must be at least 1.")
        self._queries = _flat(queries)
        self._shown = 0
        self.indices = np.full([len(queries), k], -1)
        self.distances = np.full([len(queries), k], np.inf)

    def show(self, points: np.ndarray) -> None:
        """Adds points, [B, D]."""
        points = _flat(points)
        # |a - b|^2 = |a|^2 - 2 a.b + |b|^2, a matrix product; in float64, as terms cancel for near points.
        squares = (self._queries**2).sum(1)[:, np.newaxis] - 2 * self._queries @ points.T + (points**2).sum(1)
        distances = np.sqrt(np.maximum(squares, 0) / points.shape[1])
        numbers = np.broadcast_to(self._shown + np.arange(len(points)), distances.shape)
        distances = np.concatenate([self.distances, distances], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, : self.indices.shape[1]]
        self.distances = np.take_along_axis(distances, order, axis=1)
        self.indices = np.take_along_axis(np.concatenate([self.indices, numbers], axis=1), order, axis=1)
        self._shown += len(points)


def nearest(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Returns indices [Q, k] and distances [Q, k] of the k nearest points to each query; see `NearestNeighbours`."""
    found = NearestNeighbours(queries, k)
    for block in blocks:
        found.show(block)
    return found.indices, found.distances


def _flat(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points.reshape(len(points), -1)
