"""The probability of discrete images, by numerical integration over their bins, and the bounds on it."""

import functools
import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import glow_tf
from glow_tf.analysis.likelihood import Scorer
from glow_tf.dequantization import Uniform, Variational
from glow_tf.networks import Resnet
from tests.marks import mostly_slow
from tests.models.flows import randomise

PRESETS = {
    "glow": functools.partial(glow_tf.glow, (2, 2, 1), K=2, L=1, width=4),
    "flow_plus_plus": functools.partial(
        glow_tf.flow_plus_plus, (2, 2, 1), ((0, 2),), width=4, blocks=1, heads=1, dropout=0.0
    ),
    "nice": functools.partial(glow_tf.nice, (2, 2, 1), K=2, width=8, blocks=1),
    "real_nvp": functools.partial(glow_tf.real_nvp, (2, 4, 1), L=1, width=4, blocks=1),
    "jet": functools.partial(glow_tf.jet, (4, 4, 1), K=2, width=4, blocks=1, heads=1, patch_size=2),
}
NOISE = {
    "uniform": Uniform(n_bits=1),
    "variational": Variational(n_bits=1, network=Resnet(width=4, blocks=1), depth=2),
}


def points_of_a_bin(dimensions):
    """Points in [0, 1), [N, D], and their weights: those of a Gauss-Legendre rule, or a Sobol sequence in many D."""
    if dimensions > 4:
        points = scipy.stats.qmc.Sobol(dimensions, seed=0).random_base2(15)
        return points, np.full(len(points), 1 / len(points))
    points, weights = (
        np.array(list(itertools.product(v, repeat=dimensions))) for v in np.polynomial.legendre.leggauss(6)
    )
    return (points + 1) / 2, np.prod(weights / 2, axis=1)


def log_probabilities(flow, images):
    """log P of images: the integral of the density over their bins, of side 1/2."""
    dimensions = flow.config.dimensions
    u, weights = points_of_a_bin(dimensions)
    edges, u = images[:, np.newaxis] // 128 / 2 - 0.5, u.reshape([-1, *flow.config.image_shape])
    log_prob = tf.function(lambda x: flow.distribution().log_prob(x), autograph=False)
    return np.log([np.exp(log_prob(edge + u / 2)) @ weights for edge in edges]) - dimensions * np.log(2)


@pytest.mark.parametrize(("preset", "noise"), mostly_slow(itertools.product(PRESETS, NOISE), [("glow", "variational")]))
def test_bounds_rise_to_the_probability(preset, noise):
    config = PRESETS[preset](dequantizer=NOISE[noise])
    flow, dimensions = randomise(glow_tf.Flow(config, dtype=tf.float64), seed=3), config.dimensions
    # Every image of one bit a pixel (256 for Jet), and 16 of them, of which the probability is computed.
    every = 128 * np.array(list(itertools.product([0, 1], repeat=dimensions)), np.uint8)
    every = every[:: max(1, len(every) // 256)].reshape([-1, *config.image_shape])
    some = every[:: len(every) // 16]
    exact = log_probabilities(flow, some)
    assert np.exp(exact).sum() < 1

    x, log_q = flow.dequantize(np.repeat(some, 3000, axis=0), seed=7, per_image=False)
    ratios = np.exp((flow.distribution().log_prob(x) - log_q).numpy().reshape([16, -1]) - exact[:, np.newaxis])
    errors = ratios.std(axis=1) / np.sqrt(ratios.shape[1])
    # Noise with a density does not reach the last 2^-10 of a bin.
    reached = 1 if noise == "uniform" else (1 - 2**-10) ** dimensions
    assert np.all(np.abs(ratios.mean(axis=1) - reached) < 4 * errors)
    error = np.sqrt(np.mean(errors**2) / 16)
    assert abs(ratios.mean() - reached) < 4 * error < 0.06

    scorer, means = Scorer(flow), []
    for k in (1, 8, 64):
        # The same 64 draws each time.
        scores = [scorer([{"images": every}], draws=k, seed=seed) for seed in range(0, 64, k)]
        means.append(np.mean([-dimensions * np.log(2) * s.importance_weighted for s in scores], axis=0))
        assert np.exp(means[-1]).sum() <= 1
    assert all(np.all(looser < tighter) for looser, tighter in itertools.pairwise(means))
    gaps = means[-1][:: len(every) // 16] - exact
    assert -0.25 < gaps.mean() < 4 * gaps.std() / 4
