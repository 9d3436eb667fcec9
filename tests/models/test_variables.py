"""Shapes of variables, computed without creating a flow."""

import pytest

import glow_tf
from glow_tf import Flow
from glow_tf.models.variables import shapes_and_kinds
from tests.models.flows import CONFIGS

ALL = {
    **CONFIGS,
    "glow-classifier": glow_tf.glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, classifier=True),
    "glow-not-conditional": glow_tf.glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, conditional=False),
}


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_they_are_those_of_the_flow(config):
    variables = {path: (tuple(v.shape), v.trainable) for path, v in Flow(config).named_variables().items()}
    found = {path: (shape, trainable) for path, shape, trainable in shapes_and_kinds(config)}
    assert found == variables


def test_the_size_of_a_model_takes_no_time():
    with pytest.raises(ValueError, match="blocks=1000000000 must be at most"):
        glow_tf.real_nvp((8, 8, 3), L=1, width=10**9, blocks=10**9)
    config = glow_tf.glow((8, 8, 3), K=10**9, L=1, width=10**9)
    wide = {path: shape for path, shape, _ in shapes_and_kinds(config)}
    assert wide["layers/01_steps/network/conv2/kernel"] == (10**9, 1, 1, 10**9, 10**9)
