"""Outlier detection by the likelihood of images and the typicality of their latents."""

import numpy as np

from glow_tf.analysis.likelihood import Scores
from glow_tf.models.flow import Flow


def outlier_scores(flow: Flow, scores: Scores) -> dict[str, np.ndarray]:
    """Computes two outlier scores for each image; higher means less like the training images.

    `bits/dim` is the negative log-likelihood. It can be low for images unlike any in training (Nalisnick et al. 2019,
    "Do deep generative models know what they don't know?"), as a density is highest where there is little volume.

    `typicality` is the absolute difference between the latent's log-density and its mean under the model, the negative
    entropy, in nats per dimension (Nalisnick et al. 2019, "Detecting out-of-distribution inputs to deep generative
    models using typicality").

    Returns:
      Scores [N], keyed by name.
    """
    entropy = float(flow.base(0.0, 1.0).entropy())
    return {"bits/dim": scores.bits_per_dim, "typicality": np.abs(scores.latent_nats + entropy)}


def auroc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Computes the area under the ROC curve, the probability that a positive has a higher score than a negative.

    0.5 is chance, and 1 perfect separation. Equal scores count half.

    Args:
      negatives: scores [N].
      positives: scores [M].

    Raises:
      ValueError: if either is empty.
    """
    negatives, positives = np.sort(np.asarray(negatives)), np.asarray(positives)
    if not negatives.size or not positives.size:
        raise ValueError("Both kinds need at least one score.")
    below = np.searchsorted(negatives, positives, side="left")
    not_above = np.searchsorted(negatives, positives, side="right")
    return float((below + not_above).sum() / (2 * negatives.size * positives.size))
