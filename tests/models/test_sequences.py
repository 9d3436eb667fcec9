"""Flows on sequences, [B, T, C]: likelihoods, inverses, gradients and initialisation, as for images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import Flow, ModelConfig, glow_1d, layers, networks, partitions, transforms
from glow_tf.data import speech_like
from glow_tf.models import diagnosis, health
from glow_tf.models.derived import DerivedCache
from tests import bijector_checks as checks
from tests.marks import mostly_slow
from tests.models.flows import moved_flow, random_flow, random_inputs, random_labels, with_gradient
from tests.tolerances import assert_close, assert_gradient_close

SOUND = glow_1d((64, 1), K=2, L=2, width=8)
RESIDUAL = layers.Steps(
    depth=2,
    permutation="none",
    coupling=transforms.AffineExp(),
    partition=partitions.Checkerboard(),
    alternate=True,
    network=networks.Resnet(width=4, blocks=1),
)
CONFIGS = {
    "sound": SOUND,
    "stereo by 4": glow_1d((16, 2), K=2, L=2, width=4, coupling="additive", permutation="conv1x1_dense", squeeze=4),
    "by 3": glow_1d((27, 4), K=1, L=2, width=4, permutation="shuffle", squeeze=3, learn_top=False),
    "labels": glow_1d((8, 1), K=2, L=2, width=4, num_classes=3),
    "real_nvp": ModelConfig(name="own", image_shape=(8, 2), layers=(RESIDUAL, layers.Squeeze(), RESIDUAL)),
    "nice": ModelConfig(
        name="own",
        image_shape=(6, 2),
        layers=(layers.Logit(), layers.Flatten(), glow_tf.nice((12,), K=2, width=8, blocks=1).layers[0]),
    ),
}
every_config = pytest.mark.parametrize("name", mostly_slow(CONFIGS, ["sound", "labels", "real_nvp"]))


def gradients(flow, x, labels):
    variables = flow.named_variables(trainable=True)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prob = flow.distribution(labels).log_prob(x)
    return dict(zip(["x", *variables], tape.gradient(log_prob, [x, *variables.values()]), strict=True))


@every_config
def test_likelihoods_are_those_of_the_jacobian_and_sequences_come_back(name):
    config = CONFIGS[name]
    bijector = random_flow(config).bijector(random_labels(config))
    z = tf.constant(np.random.default_rng(1).standard_normal([3, config.dimensions]))
    checks.check_log_det(bijector, random_inputs(config), z)
    checks.check_round_trip(bijector, random_inputs(config), z)


@every_config
def test_reversible_gradients_are_the_stored_ones(name):
    config = CONFIGS[name]
    x, labels = random_inputs(config), random_labels(config)
    flows = [random_flow(with_gradient(config, gradient)) for gradient in ("reversible", "stored")]
    actual, expected = (gradients(flow, x, labels) for flow in flows)
    compiled = tf.function(lambda x: gradients(flows[0], x, labels), autograph=False)(x)
    for path, value in expected.items():
        assert np.abs(value).max() > 0, path
        assert_gradient_close(actual[path], value, message=path)
        assert_gradient_close(compiled[path], value, message=path)


def test_batches_of_unknown_size():
    flow, x = random_flow(SOUND), random_inputs(SOUND)
    expected = flow.distribution().log_prob(x)
    spec = tf.TensorSpec([None, 64, 1], tf.float64)
    compiled = tf.function(lambda x: flow.distribution().log_prob(x), input_signature=[spec], autograph=False)
    assert_close(compiled(x), expected)
    assert flow.distribution().sample(2, seed=1).shape == (2, 64, 1)


def test_samples_are_the_same_with_kept_inverses():
    flow, z = random_flow(SOUND), tf.constant(np.random.default_rng(0).standard_normal([2, 64]))
    kept = flow.bijector(derived=DerivedCache(flow)()).inverse_and_log_det(z)[0]
    assert_close(kept, flow.bijector().inverse_and_log_det(z)[0])


def test_health_and_diagnosis():
    flow, x = random_flow(SOUND), random_inputs(SOUND)
    assert list(health.condition_numbers(flow)) == ["level_1", "level_2"]
    assert np.all(health.round_trip_errors(flow, x) < 1e-10)
    assert diagnosis.first_nonfinite(flow, x) is None
    kernel = flow.named_variables()["layers/04_steps/network/conv1/kernel"]
    kernel[1, 0, 0, 0].assign(np.inf)
    assert diagnosis.first_nonfinite(flow, x) == "level 2, step 2 of 2, coupling: its output"


def test_saved_and_loaded(tmp_path):
    config = CONFIGS["stereo by 4"]
    flow, x = moved_flow(config), tf.cast(random_inputs(config), tf.float32)
    glow_tf.save(flow, tmp_path)
    loaded = glow_tf.load(tmp_path)
    assert loaded.config == config
    np.testing.assert_array_equal(loaded.distribution().log_prob(x), flow.distribution().log_prob(x))


def test_real_numbers_are_initialized_sampled_and_decoded_as_they_are():
    sounds = speech_like(4, 64) / 100
    flow = Flow(SOUND)
    flow.initialize(sounds)
    latents = flow.encode(sounds)
    assert np.std(sounds) < 0.01 and 0.5 < np.std(latents) < 2
    np.testing.assert_allclose(flow.decode(latents), sounds, atol=1e-6)
    drawn = flow.sample(2, 0.7, seed=1)
    assert drawn.shape == (2, 64, 1) and drawn.dtype == tf.float32
    found = flow.likelihood(sounds)
    assert_close(found.bits_per_dim, -flow.distribution().log_prob(sounds) / (64 * np.log(2)), 1e-6)
    assert_close(sum(found.parts.values()), found.bits_per_dim, 1e-6)


def test_what_is_no_sound_is_refused():
    sounds, flow = speech_like(2, 64), Flow(SOUND)
    with pytest.raises(ValueError, match="must be floats; these are int16.* divided by 32768"):
        flow.bits_per_dim((sounds * 32767).astype(np.int16))
    with pytest.raises(ValueError, match=r"Sequences must have shape \[B, 64, 1\]; these have \(64, 1\).*x\[None\]"):
        flow.encode(sounds[0])
    with pytest.raises(ValueError, match="1 of 2 sequences are not finite"):
        flow.decode(np.stack([np.zeros(64), np.full(64, np.inf)]))
    sounds[1, 3] = np.nan
    for initialize in (flow.initialize, flow.initialize_from):
        with pytest.raises(ValueError, match="initialisation needs finite numbers"):
            initialize(sounds)
    assert not flow.initialized.numpy()


def test_a_layer_of_keras_takes_sound():
    sounds, flow = speech_like(4, 8), Flow(glow_1d((8, 1), K=1, L=1, width=4))
    layer = glow_tf.keras_layer(flow)
    layer.adapt(sounds)
    assert flow.initialized.numpy()
    assert_close(keras.Sequential([layer])(sounds), flow.bits_per_dim(sounds), 1e-5)
    # Without dequantization noise, the value is the same in training.
    assert_close(layer(sounds, training=True), flow.bits_per_dim(sounds), 1e-5)
    assert_close(layer.losses[0], np.mean(flow.bits_per_dim(sounds)), 1e-5)


def test_a_loop_of_ones_own_learns_from_sound():
    sounds = tf.constant(speech_like(192, 64, seed=0), tf.float64)
    train, held_out = sounds[:128], sounds[128:]
    flow = Flow(SOUND, dtype=tf.float64)
    flow.initialize_from(train)
    variables = list(flow.named_variables(trainable=True).values())

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.distribution().log_prob(train)) / 64
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.005 * gradient)
        return loss

    before = tf.reduce_mean(flow.distribution().log_prob(held_out)) / 64
    losses = [float(step()) for _ in range(30)]
    after = tf.reduce_mean(flow.distribution().log_prob(held_out)) / 64
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0] - 0.1
    assert after > before + 0.1
