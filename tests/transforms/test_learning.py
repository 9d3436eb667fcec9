"""Densities with more than one peak, the purpose of the mixture of logistics and the spline."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import layers, networks, transforms
from glow_tf.dequantization import Continuous


def points_on_a_grid(n, seed):
    """Points in the plane, [n, 2], drawn from nine Gaussian peaks on a grid."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, [n, 2]) + 0.1 * rng.standard_normal([n, 2])
    return tf.constant(x, tf.float32)


def held_out_nats(coupling):
    """The mean negative log-density of held-out points after short training, in nats."""
    network = networks.Mlp(width=32, blocks=2)
    steps = layers.Steps(depth=4, network=network, coupling=transforms.NAMED[coupling], permutation="reverse")
    config = glow_tf.ModelConfig(name="own", image_shape=(2,), layers=(steps,), dequantizer=Continuous())
    flow, data = glow_tf.Flow(config), points_on_a_grid(2000, 0)
    flow.initialize(data)
    variables = list(flow.named_variables(trainable=True).values())
    optimizer = keras.optimizers.Adam(5e-3)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def update(batch):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.distribution().log_prob(batch))
        optimizer.apply(tape.gradient(loss, variables))

    for step in range(200):
        update(tf.gather(data, np.random.default_rng(step).integers(0, len(data), 256)))
    return -float(tf.reduce_mean(flow.distribution().log_prob(points_on_a_grid(2000, 1))))


@pytest.mark.slow
def test_more_than_one_peak_is_learned_sooner_than_by_affine_couplings():
    """No model can fall below the entropy: log 9 for the peaks, plus that of a normal distribution in the plane."""
    entropy = np.log(9) + np.log(2 * np.pi * np.e * 0.1**2)
    nats = {coupling: held_out_nats(coupling) for coupling in ("affine", "mixture_logistic", "spline")}
    for coupling in ("mixture_logistic", "spline"):
        assert entropy - 0.05 < nats[coupling] < nats["affine"] - 0.2, nats
