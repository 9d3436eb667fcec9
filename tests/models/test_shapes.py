"""The shapes of variables that no flow has made."""

import itertools

import pytest

import glow_tf
from glow_tf import Flow
from glow_tf.models.shapes import variable_shapes
from tests.models.flows import CONFIGS

ALL = {
    **CONFIGS,
    "glow-classifier": glow_tf.glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, classifier=True),
    "glow-not-conditional": glow_tf.glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, conditional=False),
}


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_they_are_those_of_the_flow(config):
    variables = {path: tuple(variable.shape) for path, variable in Flow(config).named_variables().items()}
    assert sorted(variable_shapes(config)) == sorted(variables.items())


def test_the_size_of_a_model_takes_no_time():
    config = glow_tf.real_nvp((8, 8, 3), L=1, width=10**9, blocks=10**9)
    assert len(list(itertools.islice(variable_shapes(config), 100))) == 100
    wide = dict(variable_shapes(glow_tf.glow((8, 8, 3), K=10**9, L=1, width=10**9)))
    assert wide["layers/01_steps/network/conv2/kernel"] == (10**9, 1, 1, 10**9, 10**9)
