"""Coupling networks in bfloat16: little accuracy is lost, and everything around them stays in float32."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.data import load_source
from tests.marks import slow
from tests.models.flows import CONFIGS, random_flow, random_inputs, random_labels

BFLOAT16 = "bfloat16"


@pytest.fixture(scope="module")
def pretrained():
    """The pretrained model of the package, and preprocessed held-out images."""
    flow = glow_tf.load("pretrained")
    source = load_source("people", image_size=flow.config.image_shape[0])
    images = tf.stack([image for image, _ in source.examples("test").take(32)])
    return flow, flow.dequantize(images, seed=[0, 0], per_image=False)[0]


def bits(flow, x, network_precision):
    log_prob = flow.distribution(network_precision=network_precision).log_prob(x)
    assert log_prob.dtype == tf.float32
    return (8 - log_prob / (flow.config.dimensions * np.log(2))).numpy()


def test_the_likelihood_of_the_pretrained_model_hardly_changes(pretrained):
    flow, x = pretrained
    exact, rounded = (bits(flow, x, precision) for precision in ("float32", BFLOAT16))
    assert abs(rounded.mean() - exact.mean()) < 0.005
    # Equal values would mean that bfloat16 was not used.
    assert np.abs(rounded - exact).max() > 1e-6
    assert not np.any(exact == 0)


@pytest.mark.parametrize(
    "name", ["glow-conv1x1-additive", "nice", *map(slow, ("glow-colour", "real_nvp", "flow_plus_plus", "jet"))]
)
def test_networks_compute_in_bfloat16_and_what_comes_out_is_float32(name):
    flow, x = random_flow(CONFIGS[name], tf.float32), tf.cast(random_inputs(CONFIGS[name]), tf.float32)
    expected, (z, log_det) = (
        flow.bijector(network_precision=precision).forward_and_log_det(x) for precision in ("float32", BFLOAT16)
    )
    assert z.dtype == log_det.dtype == tf.float32
    # bfloat16 has a significand of 8 bits: the output of a network is rounded, but not lost.
    for actual, exact in zip((z, log_det), expected, strict=True):
        error = np.abs(actual - exact).max()
        assert 0 < error < 0.05 * np.abs(exact).max() or (name == "nice" and actual is log_det)


def test_log_dets_of_additive_couplings_are_untouched():
    """They do not depend on the networks and are summed in float32, so that they are equal bit for bit."""
    config = CONFIGS["glow-conv1x1-additive"]
    flow, x = random_flow(config, tf.float32), tf.cast(random_inputs(config), tf.float32)
    parts = [flow.bijector(network_precision=precision).forward_and_log_dets(x) for precision in ("float32", BFLOAT16)]
    (z, log_dets), (rounded, rounded_log_dets) = parts
    assert np.abs(z - rounded).max() > 0
    steps = [i for i, layer in enumerate(config.layers) if type(layer).__name__ == "Steps"]
    for i in steps:
        np.testing.assert_array_equal(log_dets[i], rounded_log_dets[i])


@pytest.mark.parametrize("gradient", ["reversible", "stored"])
def test_gradients_are_float32_and_close(gradient):
    config = glow_tf.glow((8, 8, 3), K=2, L=2, width=8, num_classes=3, gradient=gradient)
    flow, x, labels = random_flow(config, tf.float32), tf.cast(random_inputs(config), tf.float32), random_labels(config)
    variables = flow.named_variables(trainable=True)

    def gradients(network_precision):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.distribution(labels, network_precision=network_precision).log_prob(x))
        return tape.gradient(loss, variables)

    exact, rounded = gradients("float32"), gradients(BFLOAT16)
    for path in variables:
        assert rounded[path] is not None and rounded[path].dtype == tf.float32, path
        assert np.abs(rounded[path]).max() > 0, path
    flat = [np.concatenate([g.numpy().ravel() for g in values.values()]) for values in (exact, rounded)]
    assert flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1]) > 0.999
    assert np.abs(flat[0] - flat[1]).max() > 0


@pytest.mark.parametrize("name", ["glow-colour", slow("real_nvp")])
def test_what_is_rounded_is_inverted_all_the_same(name):
    """The inverse applies the same network to the same input, so that it is exact up to float32 rounding."""
    flow, x = random_flow(CONFIGS[name], tf.float32), tf.cast(random_inputs(CONFIGS[name]), tf.float32)
    bijector = flow.bijector(network_precision=BFLOAT16)
    assert np.abs(bijector.inverse(tf.identity(bijector.forward(x))) - x).max() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network_precision": "bf16"}, "network_precision='bf16' is not one of 'float32', 'tf32', 'bfloat16'"),
        ({"gradient": "saved"}, "gradient='saved' is not one of 'reversible', 'stored', 'none'"),
    ],
)
def test_an_unknown_mode_is_refused_before_anything_is_computed(options, message):
    flow = glow_tf.Flow(glow_tf.ModelConfig(name="empty", image_shape=(2, 2, 1), layers=()))
    with pytest.raises(ValueError, match=message):
        flow.bijector(**options)
    with pytest.raises(ValueError, match=message):
        flow.noise(tf.zeros([1, 2, 2, 1]), seed=tf.constant([0, 0]), **options)
