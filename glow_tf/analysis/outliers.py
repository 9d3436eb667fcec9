"""Telling images of one kind from others by a flow: by their likelihood, and by how typical their latents are."""

import numpy as np

from glow_tf.analysis.likelihood import Scores
from glow_tf.models.flow import Flow


def outlier_scores(flow: Flow, scores: Scores) -> dict[str, np.ndarray]:
    """Two scores of each image that are the higher, the less the image looks like those the flow was trained on.

    `bits/dim` is the plain figure. A likelihood can be high for images unlike any in training (Nalisnick et al. 2019,
    "Do deep generative models know what they don't know?"): a density has its maximum where there is little volume.
    `typicality` is how far the latent's log-density is from what it is on average under the model, the negative
    entropy, in either direction, in nats per dimension (Nalisnick et al. 2019, "Detecting out-of-distribution inputs
    to deep generative models using typicality").

    Returns:
      By name, [N].
    """
    entropy = float(flow.base(0.0, 1.0).entropy())
    return {"bits/dim": scores.bits_per_dim, "typicality": np.abs(scores.latent_nats + entropy)}


def auroc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """The area under the ROC curve: the probability that a positive has a higher score than a negative.

    0.5 is chance, 1 tells all apart, and less than 0.5 takes one for the other. Equal scores count half.

    Args:
      negatives, positives: scores, [N] and [M].

    Raises:
      ValueError: if either is empty.
    """
    negatives, positives = np.sort(np.asarray(negatives)), np.asarray(positives)
    if not negatives.size or not positives.size:
        raise ValueError("Both kinds need at least one score.")
    below = np.searchsorted(negatives, positives, side="left")
    not_above = np.searchsorted(negatives, positives, side="right")
    return float((below + not_above).sum() / (2 * negatives.size * positives.size))
