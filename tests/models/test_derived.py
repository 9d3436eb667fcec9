"""Cached inverses of 1x1 convolutions: when they are reused, and when they are recomputed."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.models.derived import DerivedCache
from tests.marks import mostly_slow
from tests.models.flows import random_flow, random_images
from tests.tolerances import assert_close, assert_gradient_close

CONFIGS = {
    permutation: glow_tf.glow((4, 4, 3), K=3, L=2, width=4, permutation=permutation)
    for permutation in ("conv1x1", "conv1x1_dense", "shuffle")
}


def weights_of(flow, i):
    """The 1x1 weights [K, C, C] of layer `i`."""
    layer, _, tensors = list(flow.iter_layers())[i]
    return layer.matrices(tensors)[0].numpy()


def inverses_of(found):
    return {i: nest["conv1x1"]["inverse"] for i, nest in found.items()}


@pytest.mark.parametrize("permutation", ["conv1x1", "conv1x1_dense"])
def test_they_are_those_of_the_weights_and_follow_them(permutation):
    flow = random_flow(CONFIGS[permutation])
    cache = DerivedCache(flow)
    inverses = tf.function(lambda: inverses_of(cache()), autograph=False)
    for _ in range(3):
        found = inverses()
        assert sorted(found) == [1, 4]
        for i, inverse in found.items():
            assert_close(inverse, np.linalg.inv(weights_of(flow, i)))
        for variable in flow.trainable_variables:
            variable.assign_add(0.01 * tf.ones_like(variable))


def test_they_are_not_computed_while_the_weights_stay():
    flow = random_flow(CONFIGS["conv1x1"])
    cache = DerivedCache(flow)
    inverses = tf.function(lambda: inverses_of(cache()), autograph=False)
    expected = {i: value.numpy() for i, value in inverses().items()}
    kept = [v for v in cache.variables if v.name.startswith("inverse")]
    assert len(kept) == 2
    # While the weights are unchanged, the cached values are returned, whatever they are.
    for variable in kept:
        variable.assign(tf.zeros_like(variable))
    assert all(np.all(value == 0) for value in inverses().values())
    flow.named_variables()["layers/01_steps/conv1x1/lower"].assign_add(
        1e-12 * tf.ones_like(flow.named_variables()["layers/01_steps/conv1x1/lower"])
    )
    found = inverses()
    assert_close(found[1], expected[1])
    assert np.all(found[4] == 0)


def test_a_flow_without_1x1_convolutions_has_none():
    assert DerivedCache(random_flow(CONFIGS["shuffle"]))() == {}


@pytest.mark.parametrize(
    ("permutation", "gradient"),
    mostly_slow(
        [(permutation, gradient) for permutation in CONFIGS for gradient in ("reversible", "stored")],
        [("conv1x1", "reversible"), ("conv1x1_dense", "stored")],
    ),
)
def test_values_and_gradients_are_the_same_with_them(permutation, gradient):
    flow = random_flow(dataclasses.replace(CONFIGS[permutation], gradient=gradient))
    x = tf.cast(random_images(flow.config), tf.float64) / 256 - 0.5
    cache = DerivedCache(flow)
    variables = flow.named_variables(trainable=True)

    def there_and_back(derived):
        with tf.GradientTape(persistent=True) as tape:
            z, log_det = flow.bijector(derived=derived).forward_and_log_det(x)
            back, _ = flow.bijector(derived=derived).inverse_and_log_det(z + 0.1)
            forward, inverse = tf.reduce_sum(z**2) + tf.reduce_sum(log_det), tf.reduce_sum(back**3)
        return (
            z,
            back,
            tape.gradient(forward, list(variables.values())),
            tape.gradient(inverse, list(variables.values())),
        )

    z, back, forward, inverse = there_and_back(None)
    z_kept, back_kept, forward_kept, inverse_kept = there_and_back(cache())
    assert_close(z_kept, z)
    assert_close(back_kept, back)
    for name, *gradients in zip(variables, forward, forward_kept, inverse, inverse_kept, strict=True):
        assert_gradient_close(gradients[1], gradients[0], message=name)
        assert_gradient_close(gradients[3], gradients[2], message=name)
