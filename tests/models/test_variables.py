"""Shapes of variables, computed without creating a flow."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import glow_tf
from glow_tf import Flow
from glow_tf.models.variables import parameter_count, parameter_specs
from tests.models.flows import CONFIGS

ALL = {
    **CONFIGS,
    "glow-classifier": glow_tf.glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, classifier=True),
    "glow-not-conditional": glow_tf.glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, conditional=False),
}


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_they_are_those_of_the_flow(config):
    variables = {path: (tuple(v.shape), v.trainable) for path, v in Flow(config).named_variables().items()}
    found = {path: (shape, trainable) for path, shape, trainable in parameter_specs(config)}
    assert found == variables


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_parameter_count_is_that_of_the_flow(config):
    count = sum(int(tf.size(variable)) for variable in Flow(config).trainable_variables)
    assert parameter_count(config) == count


def test_the_size_of_a_model_takes_no_time():
    with pytest.raises(ValueError, match="blocks=1000000000 must be at most"):
        glow_tf.real_nvp((8, 8, 3), L=1, width=10**9, blocks=10**9)
    config = glow_tf.glow((8, 8, 3), K=10**9, L=1, width=10**9)
    wide = {path: shape for path, shape, _ in parameter_specs(config)}
    assert wide["layers/01_steps/network/conv2/kernel"] == (10**9, 1, 1, 10**9, 10**9)


def test_parameters_may_be_numbers_and_lists(tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Affine(glow_tf.layers.Layer):
        def parameters(self, shape, rng):
            return {"log_scale": 0.5, "shift": [1.0] * shape[-1], "count": 3}

        def bijector(self, shape, tensors, context=None):
            scale = tfp.bijectors.Scale(log_scale=tf.convert_to_tensor(tensors["log_scale"]))
            return tfp.bijectors.Shift(tf.convert_to_tensor(tensors["shift"]))(scale)

    try:
        config = glow_tf.ModelConfig(name="affine", image_shape=(2, 2, 1), layers=(Affine(),))
        flow = Flow(config)
        assert list(flow.named_variables(trainable=True)) == ["layers/00_affine/log_scale", "layers/00_affine/shift"]
        flow.trainable_variables[0].assign(0.25)
        glow_tf.save(flow, tmp_path)
        images = np.full([1, 2, 2, 1], 7, np.uint8)
        np.testing.assert_array_equal(glow_tf.load(tmp_path).encode(images), flow.encode(images))
    finally:
        glow_tf.layers.Layer.classes.pop("Affine")
