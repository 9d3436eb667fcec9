import numpy as np
import pytest
import tensorflow as tf

from glow_tf.networks import Mlp
from tests.networks.random_networks import initial_values, random_values, slices
from tests.tolerances import assert_close


@pytest.mark.parametrize("blocks", [1, 5])
def test_by_hand(blocks):
    rng = np.random.default_rng(0)
    network = Mlp(width=5, blocks=blocks)
    p = random_values(network, 2, 3, 4)
    assert len(p) == blocks + 1
    x = h = rng.standard_normal([6, 3])
    for i in range(blocks):
        h = np.maximum(h @ p[f"dense{i}"]["kernel"][1] + p[f"dense{i}"]["bias"][1], 0)
    h = h @ p["leave"]["kernel"][1] + p["leave"]["bias"][1]
    assert_close(network.apply(slices(network, p, 1), tf.constant(x)), h)


def test_initial_weights_keep_the_variance_through_rectifiers():
    p = initial_values(Mlp(width=300, blocks=2).parameters(np.random.default_rng(0), 1, 200, 10, (200,)))
    for name, inputs in (("dense0", 200), ("dense1", 300)):
        assert abs(p[name]["kernel"].std() / np.sqrt(2 / inputs) - 1) < 0.02
