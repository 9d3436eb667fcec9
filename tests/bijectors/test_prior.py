import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf.bijectors import DiagonalPrior
from tests.tolerances import assert_close

tfb = tfp.bijectors
tfd = tfp.distributions


def parameters(n):
    rng = np.random.default_rng(n)
    return rng.standard_normal([n, 2, 3, 2]), 0.5 * rng.standard_normal([n, 2, 3, 2])


def log_density(x, mean, log_stddev):
    terms = -0.5 * ((x - mean) / np.exp(log_stddev)) ** 2 - log_stddev - 0.5 * np.log(2 * np.pi)
    return terms.sum((-1, -2, -3))


def distribution(mean, log_stddev, batch):
    base = tfd.Sample(tfd.Normal(tf.zeros(batch, tf.float64), 1), sample_shape=[2, 3, 2])
    return tfd.TransformedDistribution(base, tfb.Invert(DiagonalPrior(tf.constant(mean), tf.constant(log_stddev))))


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_one_prior_for_all(batch):
    mean, log_stddev = parameters(1)
    x = np.random.default_rng(0).standard_normal([*batch, 2, 3, 2])
    assert_close(distribution(mean, log_stddev, []).log_prob(x), log_density(x, mean[0], log_stddev[0]))


@pytest.mark.parametrize("sample", [(), (4,), (2, 1)])
def test_a_prior_for_every_label(sample):
    mean, log_stddev = parameters(3)
    labelled = distribution(mean, log_stddev, [3])
    assert labelled.batch_shape == [3] and labelled.event_shape == [2, 3, 2]
    x = np.random.default_rng(1).standard_normal([*sample, 3, 2, 3, 2])
    assert_close(labelled.log_prob(x), log_density(x, mean, log_stddev))
    assert labelled.sample(sample, seed=0).shape == (*sample, 3, 2, 3, 2)


@pytest.mark.parametrize("slices", [1, np.s_[1:], np.s_[:1], np.s_[::-1], np.s_[:, None], np.s_[None, 1:]], ids=str)
def test_the_batch_shape_is_sliced(slices):
    mean, log_stddev = parameters(3)
    part = distribution(mean, log_stddev, [3])[slices]
    mean, log_stddev = mean[slices], log_stddev[slices]
    assert part.batch_shape == mean.shape[:-3]
    x = np.random.default_rng(1).standard_normal([2, *mean.shape])
    assert_close(part.log_prob(x), log_density(x, mean, log_stddev))
    assert part.sample(4, seed=0).shape == (4, *mean.shape)
    prior = DiagonalPrior(*map(tf.constant, parameters(3)))
    assert_close(prior[slices].forward(x), (x - mean) * np.exp(-log_stddev))
    assert_close(prior.copy(name="copy")[slices].forward(x), (x - mean) * np.exp(-log_stddev))


def test_samples_have_the_prior_s_moments():
    mean, log_stddev = parameters(3)
    draws = distribution(mean, log_stddev, [3]).sample(4000, seed=0).numpy()
    error = np.exp(log_stddev) / np.sqrt(4000)
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * error)
    assert np.all(np.abs(draws.std(0) / np.exp(log_stddev) - 1) < 0.08)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="mean and log_stddev must have one shape"):
        DiagonalPrior(tf.zeros([1, 2, 2, 2]), tf.zeros([1, 2, 2, 4]))
