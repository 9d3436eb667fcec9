import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks import mlp
from tests.tolerances import assert_close


@pytest.mark.parametrize("blocks", [1, 5])
def test_by_hand(blocks):
    rng = np.random.default_rng(0)
    initial = mlp.initial_parameters(rng, 2, 3, 4, 5, blocks)
    assert len(initial) == blocks + 1
    p = tf.nest.map_structure(lambda a: a + 0.3 * rng.standard_normal(a.shape), initial)
    x = h = rng.standard_normal([6, 3])
    for i in range(blocks):
        h = np.maximum(h @ p[f"dense{i}"]["kernel"][1] + p[f"dense{i}"]["bias"][1], 0)
    h = h @ p["leave"]["kernel"][1] + p["leave"]["bias"][1]
    tensors = tf.nest.map_structure(lambda t: t[1], mlp.tensors(tf.nest.map_structure(tf.constant, p)))
    assert_close(mlp.apply(tensors, tf.constant(x)), h)


def test_initial_weights_keep_the_variance_through_rectifiers():
    p = mlp.initial_parameters(np.random.default_rng(0), 1, 200, 10, 300, 2)
    for name, inputs in (("dense0", 200), ("dense1", 300)):
        assert abs(p[name]["kernel"].std() / np.sqrt(2 / inputs) - 1) < 0.02
