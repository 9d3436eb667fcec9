"""Linear classifier probes of a representation (Alain & Bengio 2016, "linear classifier probes")."""

from collections.abc import Sequence

import numpy as np

# Candidate ridge penalties, relative to the mean variance of a standardised feature.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
) -> float:
    """Computes the test accuracy of a least-squares classifier with a ridge penalty.

      W = argmin |X W - Y|^2 / N + penalty |W|^2,  Y the labels as one-hot rows,  class = argmax x W

    Features are standardised first. The penalty is selected on a fifth of the training rows, drawn with a fixed seed,
    with classifiers fitted to the others. The solution is exact, so that representations are compared and not
    optimizers.

    Args:
      features: [N, ...], features of the training images; all but the first axis are flattened.
      labels: [N] int.
      test_features: [M, ...].
      test_labels: [M] int.
      penalties: candidates for the penalty.

    Returns:
      The fraction of test labels that are predicted correctly.

    Raises:
      ValueError: if there are fewer than five training images, fewer than two classes, or no test images.
    """
    labels, test_labels = np.asarray(labels), np.asarray(test_labels)
    classes, targets = np.unique(labels, return_inverse=True)
    if len(labels) < 5 or len(classes) < 2 or not len(test_labels):
        raise ValueError(
            f"A probe needs five training images of two classes and a test image; there are {len(labels)} training "
            f"images of {len(classes)} classes and {len(test_labels)} test images."
        )
    train, test = (np.reshape(f, [len(f), -1]).astype(np.float64) for f in (features, test_features))
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    train, test = ((rows - mean) / np.maximum(deviation, 1e-6) for rows in (train, test))
    one_hot = np.eye(len(classes))[targets]
    # Drawn at random, as rows are often sorted by class.
    selecting, fitting = np.split(np.random.default_rng(0).permutation(len(train)), [len(train) // 5])
    scores = _scores(train[fitting], one_hot[fitting], train[selecting], penalties)
    found = [np.mean(score.argmax(axis=1) == targets[selecting]) for score in scores]
    best = penalties[int(np.argmax(found))]
    (scores,) = _scores(train, one_hot, test, [best])
    return float(np.mean(classes[scores.argmax(axis=1)] == test_labels))


def _scores(x: np.ndarray, y: np.ndarray, other: np.ndarray, penalties: Sequence[float]) -> list[np.ndarray]:
    """Predicts targets for rows `other` with classifiers fitted to rows `x` and targets `y`, one for each penalty."""
    offset = y.mean(axis=0)
    # The smaller of X'X and XX' is decomposed, once for all penalties; both give the same solution.
    wide = x.shape[1] > x.shape[0]
    values, vectors = np.linalg.eigh((x @ x.T if wide else x.T @ x) / len(x))
    projected = vectors.T @ (y - offset if wide else x.T @ (y - offset)) / len(x)
    rows = (other @ x.T if wide else other) @ vectors
    return [rows @ (projected / (values + penalty)[:, np.newaxis]) + offset for penalty in penalties]
