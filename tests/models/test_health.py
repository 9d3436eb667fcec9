"""Condition numbers against NumPy's, and round-trip errors computed by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import Flow, glow
from glow_tf.models import health
from tests.models.flows import CONFIGS, random_flow, random_images, random_inputs, random_labels
from tests.tolerances import assert_close


def plu_by_hand(flow, layer):
    """The 1x1 convolutions of a stack of steps, [K, C, C]: P L (U + diag(sign * exp(log_diagonal)))."""
    names = {path.rpartition("/")[2]: v.numpy() for path, v in flow.named_variables().items() if layer in path}
    weights = []
    for k in range(len(names["sign"])):
        lower = np.tril(names["lower"][k], -1) + np.eye(len(names["sign"][k]))
        diagonal = np.diag(names["sign"][k] * np.exp(names["log_diagonal"][k]))
        weights.append(np.eye(len(lower))[names["permutation"][k]] @ lower @ (np.triu(names["upper"][k], 1) + diagonal))
    return np.stack(weights)


def test_which_models_can_have_additive_couplings_instead():
    own = dataclasses.replace(CONFIGS["glow-one-level"], name="mine")
    kinds = ("glow-one-level", "glow-spline", "glow-shuffle-additive", "flow_plus_plus", "jet", "real_nvp", "nice")
    found = [health.can_be_additive(config) for config in (own, *(CONFIGS[kind] for kind in kinds))]
    assert found == [False, True, True, False, True, False, False, False]


def test_condition_numbers_of_dense_weights():
    flow = random_flow(glow((8, 8, 3), K=3, L=2, width=4, permutation="conv1x1_dense"))
    numbers = health.condition_numbers(flow)
    weights = {path: v.numpy() for path, v in flow.named_variables().items() if path.endswith("conv1x1/weight")}
    expected = [max(np.linalg.cond(w) for w in stack) for _, stack in sorted(weights.items())]
    assert list(numbers) == ["level_1", "level_2"]
    assert_close(list(numbers.values()), expected)
    assert min(expected) > 1.01


def test_condition_numbers_of_plu_weights():
    """Permuting the rows of a matrix preserves its condition number, so that only L (U + D) matters."""
    flow = random_flow(CONFIGS["glow-colour"])
    for name, variable in flow.named_variables(trainable=True).items():
        if "conv1x1" in name:
            rng = np.random.default_rng(3)
            variable.assign_add(rng.normal(0, 0.2, variable.shape))
    numbers = health.condition_numbers(flow)
    expected = [max(np.linalg.cond(plu_by_hand(flow, f"{layer}_steps/conv1x1/"))) for layer in ("01", "04")]
    assert_close([numbers["level_1"], numbers["level_2"]], expected)
    assert min(expected) > 1.5


def test_initial_rotations_have_one():
    numbers = health.condition_numbers(Flow(CONFIGS["glow-three-levels"]))
    assert list(numbers) == ["level_1", "level_2", "level_3"]
    np.testing.assert_allclose(list(numbers.values()), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["glow-shuffle-affine", "glow-reverse-additive", "real_nvp", "nice"])
def test_models_without_1x1_convolutions_have_none(name):
    assert health.condition_numbers(Flow(CONFIGS[name])) == {}


@pytest.mark.parametrize("log_diagonal", [-200.0, np.nan, np.inf])
def test_a_singular_or_infinite_matrix_is_infinite(log_diagonal):
    """exp(-200) is 0 in float32. The other step of the level, and the other level, are well-conditioned."""
    flow = Flow(glow((8, 8, 1), K=2, L=2, width=4))
    variable = flow.named_variables()["layers/04_steps/conv1x1/log_diagonal"]
    broken = variable.numpy()
    broken[1, 0] = log_diagonal
    variable.assign(broken)
    numbers = health.condition_numbers(flow)
    assert numbers["level_2"] == np.inf
    assert numbers["level_1"] == pytest.approx(1, rel=1e-5)


def ill_conditioned(condition):
    """A float32 flow in which one dense 1x1 convolution has the given condition number."""
    flow = random_flow(glow((4, 4, 3), K=2, L=1, width=4, permutation="conv1x1_dense"), tf.float32)
    (weight,) = (v for path, v in flow.named_variables().items() if path.endswith("conv1x1/weight"))
    value = weight.numpy()
    left, _, right = np.linalg.svd(value[0])
    value[0] = left @ np.diag(np.geomspace(1, 1 / condition, len(left))) @ right
    weight.assign(value)
    return flow


def test_the_round_trip_by_hand():
    flow, x = ill_conditioned(1e3), tf.cast(random_inputs(CONFIGS["glow-colour"], 4)[:, :, :4], tf.float32)
    z = flow.bijector().forward(x).numpy()
    back = flow.bijector().inverse(tf.constant(z)).numpy()
    error = float(tf.reduce_max(health.round_trip_errors(flow, x)))
    np.testing.assert_allclose(error, np.abs(back - x.numpy()).max(), rtol=0.5)
    # An error of 0 would mean that TFP returned the cached images instead of inverting the latents.
    assert error > 0
    compiled = tf.function(lambda x: tf.reduce_max(health.round_trip_errors(flow, x)), autograph=False)
    assert 0.1 < float(compiled(x)) / error < 10


def test_the_round_trip_worsens_with_the_condition_number():
    x = tf.cast(random_inputs(CONFIGS["glow-colour"], 4)[:, :, :4], tf.float32)
    errors = [
        float(tf.reduce_max(health.round_trip_errors(ill_conditioned(condition), x))) for condition in (1, 1e3, 1e6)
    ]
    assert errors[0] < 1e-5 < errors[1] < 1e-2 < errors[2]
    assert health.condition_numbers(ill_conditioned(1e3))["level_1"] == pytest.approx(1e3, rel=1e-2)


@pytest.mark.parametrize("name", ["glow-labels", "glow-colour", "nice", "real_nvp"])
def test_the_round_trip_of_a_sound_model_is_exact_to_rounding(name):
    config = CONFIGS[name]
    flow = random_flow(config)
    x = flow.centers(random_images(config))
    assert float(tf.reduce_max(health.round_trip_errors(flow, x, random_labels(config)))) < 1e-10


def test_a_network_in_bfloat16_is_inverted_as_such():
    """Additive and affine couplings are inverted with the same network, so that rounding inside it does not matter."""
    flow = random_flow(CONFIGS["glow-colour"], tf.float32)
    x = tf.cast(random_inputs(flow.config), tf.float32)
    assert float(tf.reduce_max(health.round_trip_errors(flow, x, network_precision="bfloat16"))) < 0.05
