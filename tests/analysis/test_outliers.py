"""Scores that tell outliers from other images."""

import math

import numpy as np
import pytest

from glow_tf.analysis.likelihood import Scores
from glow_tf.analysis.outliers import auroc, outlier_scores
from tests.analysis import models


@pytest.mark.parametrize(
    ("negatives", "positives", "area"),
    [
        ([1, 2], [3, 4], 1),
        ([3, 4], [1, 2], 0),
        ([1, 3], [2, 4], 0.75),
        ([1, 1], [1, 1], 0.5),
        ([0, 1, 1], [1], 2 / 3),
    ],
)
def test_the_area_by_hand(negatives, positives, area):
    assert auroc(negatives, positives) == pytest.approx(area, abs=1e-12)


def test_the_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40), rng.integers(2, 11, 30)
    pairs = (b[:, np.newaxis] > a).mean() + 0.5 * (b[:, np.newaxis] == a).mean()
    assert auroc(a, b) == pytest.approx(pairs, abs=1e-12)


def test_both_kinds_are_needed():
    with pytest.raises(ValueError, match="at least one score"):
        auroc([], [1])


def test_latents_that_are_too_short_or_too_long_are_untypical():
    """A latent from N(0, s^2) has a mean log-density of -log(2 pi) / 2 - s^2 / 2 per dimension."""
    nats = np.array([-0.5 * math.log(2 * math.pi) - 0.5 * s**2 for s in (1.0, 0.5, 1.5)])
    scores = outlier_scores(models.flow(), Scores(np.array([3.0, 2.0, 4.0]), np.zeros(3), {}, nats))
    np.testing.assert_allclose(scores["typicality"], [0, 0.375, 0.625], atol=1e-6)
    np.testing.assert_array_equal(scores["bits/dim"], [3, 2, 4])
