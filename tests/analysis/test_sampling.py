"""Sampling in batches."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.analysis.sampling import Sampler
from glow_tf.runtime.runtime import Runtime
from tests.analysis import models
from tests.marks import slow

CONDITIONAL = glow_tf.glow((8, 8, 3), K=1, L=1, width=4, num_classes=3)


@pytest.fixture(scope="module")
def flow():
    return glow_tf.Flow(glow_tf.glow((8, 8, 3), K=1, L=2, width=4), seed=0)


@pytest.fixture(scope="module")
def conditional():
    """A model whose label determines the brightness of the picture, whatever the latents."""
    flow = glow_tf.Flow(CONDITIONAL, seed=0)
    variables = flow.named_variables()
    (conv,) = (path.rpartition("/")[0] for path in variables if path.endswith("conv1x1/upper"))
    for name, value in {"permutation": np.arange(12), "sign": 1, "lower": 0, "upper": 0, "log_diagonal": 0}.items():
        variable = variables[f"{conv}/{name}"]
        variable.assign(np.broadcast_to(value, variable.shape).astype(variable.dtype.as_numpy_dtype))
    (kernel,) = (v for path, v in variables.items() if path.endswith("label/kernel"))
    value = np.zeros([3, 24], np.float32)
    # The affine coupling of an untrained network multiplies the second half by sigmoid(2).
    value[:, :6] = [[-0.4], [0.0], [0.4]]
    value[:, 6:12] = value[:, :6] / (1 + np.exp(-2))
    value[:, 12:] = -8
    kernel.assign(value)
    return flow


def test_samples_that_are_no_numbers_are_told_of(caplog):
    with caplog.at_level("WARNING"):
        assert Sampler(models.flow(), 3, temperature=1e30, batch_size=2)().shape == (3, 8, 8, 3)
    (record,) = caplog.records
    assert "3 of 3 images are not finite numbers" in record.getMessage()


def brightness(images):
    return images.reshape(len(images), -1).mean(axis=1)


@pytest.mark.parametrize(("count", "batch_size"), [slow((5, 64)), slow((5, 5)), (5, 2), (1, 1), slow((6, 3))])
def test_as_many_as_asked_for(flow, count, batch_size):
    images = Sampler(flow, count, batch_size=batch_size)()
    assert images.shape == (count, 8, 8, 3)
    assert images.dtype == np.uint8
    assert len(np.unique(images.reshape(count, -1), axis=0)) == count


def test_draws_are_repeated(flow):
    sampler = Sampler(flow, 3, seed=1, batch_size=2)
    np.testing.assert_array_equal(sampler(), sampler())
    np.testing.assert_array_equal(sampler(), Sampler(flow, 3, seed=1, batch_size=2)())
    assert np.any(sampler() != Sampler(flow, 3, seed=2, batch_size=2)())


def test_without_a_seed_samplers_differ_and_each_repeats_itself(flow):
    sampler = Sampler(flow, 3)
    np.testing.assert_array_equal(sampler(), sampler())
    assert np.any(sampler() != Sampler(flow, 3)())


@pytest.mark.parametrize(
    ("config", "at_once"),
    [
        *((models.CONFIGS["plain"], 1), (CONDITIONAL, 3)),
        *(slow((models.CONFIGS["plain"], at_once)) for at_once in (2, 3)),
        *(slow((CONDITIONAL, at_once)) for at_once in (1, 2)),
    ],
)
def test_one_batch_is_what_the_flow_samples(config, at_once):
    # In float64, in which the order of additions does not affect the pictures.
    flow = glow_tf.Flow(config, dtype=tf.float64, runtime=Runtime(shards=at_once))
    np.testing.assert_array_equal(Sampler(flow, 4, temperature=0.5, seed=3)(), flow.sample(4, 0.5, seed=3))


def test_temperature_nought_is_the_mode(flow):
    images = Sampler(flow, 3, temperature=0.0)()
    np.testing.assert_array_equal(images[0], images[2])
    assert images.astype(float).std() < Sampler(flow, 3, temperature=1.0)().astype(float).std()


def test_the_weights_of_the_moment_count(flow):
    sampler = Sampler(flow, 2)
    before = sampler()
    (bias,) = (v for path, v in flow.named_variables().items() if path == "layers/01_steps/actnorm/bias")
    bias.assign_add(0.2 * np.ones(bias.shape, np.float32))
    try:
        assert np.any(sampler() != before)
    finally:
        bias.assign_sub(0.2 * np.ones(bias.shape, np.float32))
    np.testing.assert_array_equal(sampler(), before)


@pytest.mark.parametrize("batch_size", [64, 4, 3, 2])
def test_classes_in_turn(conditional, batch_size):
    labels = np.arange(7) % 3
    values = brightness(Sampler(conditional, 7, batch_size=batch_size)())
    expected = np.array([26, 128, 230])[labels]
    np.testing.assert_allclose(values, expected, atol=4)


@pytest.mark.parametrize("batch_size", [64, 2])
def test_labels_asked_for(conditional, batch_size):
    values = brightness(Sampler(conditional, 5, labels=[2, 2, 0, 1, 2], batch_size=batch_size)())
    np.testing.assert_allclose(values, [230, 230, 26, 128, 230], atol=4)
