"""Parameters before they become variables."""

import numpy as np
import pytest

from glow_tf import parameters


def test_shapes_are_known_before_any_memory_is_taken():
    vast = 10**9, 10**9
    rng = np.random.default_rng(0)
    nest = {"a": parameters.normal(rng, 1.0, vast), "b": parameters.zeros(*vast), "c": parameters.actnorm(*vast)}
    assert {path: leaf.shape for path, leaf in parameters.flatten_nest(nest)} == {
        "a": vast,
        "b": vast,
        "c/bias": vast,
        "c/logs": vast,
    }


def test_normal():
    draws = parameters.normal(np.random.default_rng(0), 0.05, (50, 40)).initial()
    assert draws.shape == (50, 40) and draws.dtype == np.float32
    assert abs(draws.std() / 0.05 - 1) < 0.05 and abs(draws.mean()) < 0.005
    np.testing.assert_array_equal(draws, parameters.normal(np.random.default_rng(0), 0.05, (50, 40)).initial())


def test_linear_layers_scale_the_standard_deviation_by_their_gain():
    layers = parameters.linear(np.random.default_rng(0), (2, 3, 3, 20, 30), gain=2.0)
    kernel, bias = layers["kernel"].initial(), layers["bias"].initial()
    # Each output is a sum over 3 * 3 * 20 inputs.
    assert kernel.shape == (2, 3, 3, 20, 30) and abs(kernel.std() / (2 / 180**0.5) - 1) < 0.05
    np.testing.assert_array_equal(bias, np.zeros([2, 30]))
    zero = parameters.zero_linear(2, 20, 30)
    assert not zero["kernel"].initial().any() and zero["bias"].shape == (2, 30)


def test_jointly_makes_all_values_at_once():
    calls = []

    def make():
        calls.append(1)
        return {"q": np.ones([2]), "sign": np.zeros([3])}

    nest = parameters.jointly(make, {"q": (2,), "sign": (3,)}, fixed=("sign",))
    assert not calls
    assert [parameters.initial_value(leaf).shape for leaf in nest.values()] == [(2,), (3,)]
    assert len(calls) == 1
    assert {name: parameters.is_trainable(leaf) for name, leaf in nest.items()} == {"q": True, "sign": False}


@pytest.mark.parametrize("array,trainable", [(np.ones(2, np.float32), True), (np.arange(3), False)])
def test_arrays_are_their_own_values_and_trained_where_they_hold_floats(array, trainable):
    assert parameters.initial_value(array) is array
    assert parameters.is_trainable(array) == trainable


def test_unflatten_nest_is_the_inverse_of_flatten_nest():
    nest = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    leaves = dict(parameters.flatten_nest(nest))
    assert leaves == {"a/b": 1, "a/c/d": 2, "e": 3}
    assert parameters.unflatten_nest(leaves) == nest
