"""Custom training loops with the flow's API."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from tests.extending.my_parts import LogitNormal
from tests.marks import slow
from tests.models.flows import CONFIGS, random_flow, random_images, random_labels
from tests.tolerances import assert_close, assert_gradient_close

LEARNED = dataclasses.replace(CONFIGS["glow-colour"], dequantizer=LogitNormal())


def expected_of(flow, images, labels, seed):
    """The mean bits/dim and its gradients by a tape, with the same noise for each image."""
    seeds = tf.random.stateless_uniform([len(images), 2], [0, seed], None, None, tf.int32)
    with tf.GradientTape() as tape:
        bits = tf.reduce_mean(flow.likelihood(images, labels, seeds).bits_per_dim)
    return bits, tape.gradient(bits, list(flow.trainable_variables), unconnected_gradients="zero")


@pytest.mark.parametrize("shards", [1, 2, slow(3)])
@pytest.mark.parametrize("config", [CONFIGS["glow-labels"], slow(LEARNED), slow(CONFIGS["real_nvp"])])
def test_value_and_gradients_are_those_of_the_mean(config, shards):
    flow, images, labels = random_flow(config), random_images(config, 5), random_labels(config, 5)
    flow.runtime = glow_tf.Runtime(shards=shards)
    step = tf.function(lambda: flow.value_and_gradients(images, labels, seed=3), autograph=False)
    value, gradients = step()
    expected, by_tape = expected_of(flow, images, labels, 3)
    assert_close(value, expected)
    for variable, found, own in zip(flow.trainable_variables, gradients, by_tape, strict=True):
        assert_gradient_close(found, own, message=variable.name)


def test_a_batch_of_unknown_size():
    config = CONFIGS["glow-colour"]
    flow, images = random_flow(config), random_images(config, 5)
    flow.runtime = glow_tf.Runtime(shards=2)
    step = tf.function(flow.value_and_gradients, autograph=False).get_concrete_function(
        tf.TensorSpec([None, *config.image_shape], tf.uint8), seed=3
    )
    value, _ = step(images)
    assert_close(value, expected_of(flow, images, None, 3)[0])


def test_a_loop_learns():
    config = glow_tf.glow((8, 8, 3), K=1, L=1, width=8)
    flow = glow_tf.Flow(config, runtime=glow_tf.Runtime(shards=2))
    ramp = np.linspace(60, 190, 8).astype(np.uint8)
    images = tf.constant(np.broadcast_to(ramp[:, None, None], [16, 8, 8, 3]))
    flow.initialize(images)
    optimizer = keras.optimizers.Adamax(0.01)

    @tf.function(autograph=False)
    def step(seed):
        value, gradients = flow.value_and_gradients(images, seed=seed)
        optimizer.apply(gradients, flow.trainable_variables)
        return value

    values = [float(step(tf.constant([0, i]))) for i in range(20)]
    assert values[-1] < values[0] - 0.3


@pytest.mark.slow
def test_compiled_by_xla():
    config = CONFIGS["glow-colour"]
    images = random_images(config, 4)
    plain, compiled = random_flow(config, tf.float32), random_flow(config, tf.float32)
    compiled.runtime = glow_tf.Runtime(xla=True)
    step = tf.function(lambda: compiled.value_and_gradients(images, seed=3), autograph=False)
    np.testing.assert_allclose(step()[0], plain.value_and_gradients(images, seed=3)[0], rtol=1e-5)


@pytest.mark.slow
def test_its_precision_is_that_of_training():
    config = CONFIGS["glow-colour"]
    images = random_images(config, 4)
    flow = random_flow(config, tf.float32)
    exact, _ = flow.value_and_gradients(images, seed=3)
    flow.runtime = glow_tf.Runtime(network_precision="bfloat16")
    rounded, _ = flow.value_and_gradients(images, seed=3)
    assert 0 < abs(float(rounded - exact)) < 0.05
    np.testing.assert_array_equal(flow.bits_per_dim(images), random_flow(config, tf.float32).bits_per_dim(images))
