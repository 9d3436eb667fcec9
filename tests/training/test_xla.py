"""XLA compiles a training step: what a TPU needs."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training.loss import losses
from tests.training import helpers


@pytest.mark.slow
@pytest.mark.parametrize("network_precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("permutation", ["conv1x1", "shuffle"])
def test_a_compiled_step_gives_the_same_gradients(permutation, network_precision):
    config = glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5, permutation=permutation)
    flow = glow_tf.Flow(config)
    flow.initialize(helpers.random_images(16, config))
    variables = list(flow.named_variables(trainable=True).values())

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses(flow, x, None, 0.0, network_precision=network_precision)["loss"])
        return loss, tape.gradient(loss, variables)

    batch = next(iter(helpers.batches(1, 4, config)))["x"]
    plain = tf.function(step, autograph=False)(batch)
    compiled = tf.function(step, autograph=False, jit_compile=True)(batch)
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-5)
    # Fused operations round a bfloat16 less often.
    tolerance = 1e-5 if network_precision == "float32" else 2e-2
    scale = max(float(tf.norm(gradient)) for gradient in plain[1])
    for a, b in zip(compiled[1], plain[1], strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * scale)
