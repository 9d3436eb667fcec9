"""The data-dependent initialisation of `Flow.initialize`."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import Flow, ModelConfig, bijectors, dequantization, glow, glow_1d, layers, networks, nice
from glow_tf.networks import actnorm
from tests.extending.my_parts import ScaleAndShift
from tests.marks import mostly_slow
from tests.models.flows import CONFIGS, random_images, random_inputs, random_labels
from tests.tolerances import assert_close

SEQUENCES = {
    "glow_1d": glow_1d((64, 1), K=2, L=2, width=8),
    "resnet_1d": dataclasses.replace(
        CONFIGS["real_nvp"],
        image_shape=(8, 2),
        layers=tuple(layer for layer in CONFIGS["real_nvp"].layers if not isinstance(layer, layers.Logit)),
    ),
}
NAMES = ["glow-conv1x1-affine", "glow-colour", "glow-labels", "glow-shuffle-additive", "real_nvp", "real_nvp-colour"]
QUICK = ["glow-colour", "real_nvp"]


def with_random_weights(config, dtype=tf.float64):
    """A flow before initialisation, with networks that have an effect and actnorms that do not normalise."""
    flow, rng = Flow(config, dtype=dtype), np.random.default_rng(3)
    for variable in flow.trainable_variables:
        variable.assign_add(tf.cast(0.1 * rng.standard_normal(variable.shape), dtype))
    return flow


@pytest.fixture
def outputs(monkeypatch):
    """Records the output of every actnorm, in the flow and in its networks, in order of evaluation."""
    seen = {"flow": [], "network": []}
    forward = bijectors.ActNorm.forward_and_log_det

    def recorded_forward(self, x):
        y, log_det = forward(self, x)
        seen["flow"].append(y.numpy())
        return y, log_det

    def normalize(layer, h):
        h = actnorm.apply(layer, h)
        seen["network"].append(h.numpy())
        return h

    def recording(evaluate):
        return lambda self, tensors, x, c, _, precision: evaluate(self, tensors, x, c, normalize, precision)

    monkeypatch.setattr(bijectors.ActNorm, "forward_and_log_det", recorded_forward)
    for network in (networks.Cnn, networks.Resnet):
        monkeypatch.setattr(network, "evaluate", recording(network.evaluate))
    return seen


DEPENDS_ON_DATA = {
    "glow": (CONFIGS["glow-one-level"], True),
    "real_nvp": (CONFIGS["real_nvp"], True),
    "nice": (CONFIGS["nice"], True),
    "nice, fixed scale": (dataclasses.replace(nice((4,), width=4), layers=(layers.Scale(learned=False),)), False),
    "nice, no scale": (dataclasses.replace(CONFIGS["nice"], layers=CONFIGS["nice"].layers[:-1]), False),
    "flow_plus_plus": (CONFIGS["flow_plus_plus"], True),
    "jet": (CONFIGS["jet"], False),
    "jet, labels": (CONFIGS["jet-labels"], False),
    "jet, variational": (dataclasses.replace(CONFIGS["jet"], dequantizer=dequantization.Variational(depth=1)), True),
    "a top prior": (dataclasses.replace(CONFIGS["glow-labels"], layers=(layers.TopPrior(num_classes=3),)), False),
    "a layer of a user": (ModelConfig(name="m", image_shape=(4, 4, 1), layers=(ScaleAndShift(),)), True),
}


@pytest.mark.parametrize("name", DEPENDS_ON_DATA)
def test_a_model_knows_whether_its_initialisation_depends_on_data(name):
    config, depends = DEPENDS_ON_DATA[name]
    one, two = Flow(config), Flow(config)
    for seed, flow in enumerate((one, two)):
        flow.initialize(random_images(config, 4, seed), random_labels(config, 4))
    differ = any(np.any(a != b) for a, b in zip(one.trainable_variables, two.trainable_variables, strict=True))
    assert (config.is_initialized_from_data, differ) == (depends, depends)


@pytest.mark.parametrize("name", mostly_slow([*NAMES, *SEQUENCES], [*QUICK, *SEQUENCES]))
def test_every_actnorm_normalises_the_batch(name, request):
    config = {**CONFIGS, **SEQUENCES}[name]
    flow, x = with_random_weights(config), random_inputs(config, 16)
    flow.initialize_from(x)
    outputs = request.getfixturevalue("outputs")
    flow.bijector(random_labels(config, 16)).forward(x)
    steps = [layer for layer in config.layers if type(layer).__name__ == "Steps"]
    assert len(outputs["flow"]) == sum(step.depth for step in steps)
    in_network = [getattr(step.network, "blocks", 1) + 1 for step in steps]
    assert len(outputs["network"]) == sum(step.depth * count for step, count in zip(steps, in_network, strict=True))
    for place, values in outputs.items():
        for i, y in enumerate(values):
            axes = tuple(range(y.ndim - 1))
            assert_close(y.mean(axes), np.zeros(y.shape[-1]), message=f"mean, {place} {i}")
            deviation = y.std(axes)
            # A hidden unit that is inactive on this batch is constant: its scale stays bounded and its deviation is 0.
            assert_close(deviation[deviation > 0.01], np.ones((deviation > 0.01).sum()), message=f"{place} {i}")
            assert (deviation > 0.01).mean() >= 0.5


def test_uint8_images_are_dequantized_first():
    config = CONFIGS["glow-colour"]
    flow, images = with_random_weights(config), random_images(config, 16)
    assert not flow.initialized.numpy()
    flow.initialize(images)
    assert flow.initialized.numpy()
    first = flow.named_variables()["layers/01_steps/actnorm/bias"][0].numpy()
    # Squeezing moves (dy, dx, c) to channel 4c + 2dy + dx; the noise is at most the width of a bin, 1/256.
    x = images.numpy() / 256 - 0.5
    means = [x[:, dy::2, dx::2, c].mean() for c in range(3) for dy in (0, 1) for dx in (0, 1)]
    assert np.abs(first + np.array(means)).max() <= 1 / 256


def test_it_is_repeatable_and_leaves_everything_but_actnorms():
    config = CONFIGS["glow-conv1x1-affine"]
    flow, images = with_random_weights(config), random_images(config, 8)
    before = {name: v.numpy() for name, v in flow.named_variables().items()}
    flow.initialize(images)
    after = {name: v.numpy() for name, v in flow.named_variables().items()}
    flow.initialize(images)
    for name, variable in flow.named_variables().items():
        assert_close(variable, after[name], message=name)
        if "actnorm" in name:
            assert np.abs(after[name] - before[name]).max() > 0, name
        else:
            assert_close(after[name], before[name], message=name)


def test_labels_are_checked_and_change_nothing():
    config = CONFIGS["glow-labels"]
    images = random_images(config, 6)
    flows = [Flow(config) for _ in range(3)]
    for flow, labels in zip(flows, (None, [0] * 6, [2] * 6), strict=True):
        flow.initialize(images, labels)
    for a, b, c in zip(*(flow.variables for flow in flows), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    with pytest.raises(ValueError, match=r"Labels must lie in 0 \.\. 2; these are \[3"):
        flows[0].initialize(images, [3] * 6)


@pytest.mark.parametrize(
    ("name", "level"),
    mostly_slow(
        [(name, level) for level in (0, 255) for name in ("glow-colour", "real_nvp", "nice")],
        [("glow-colour", 0), ("nice", 255)],
    ),
)
def test_constant_images_stay_finite(name, level):
    config = CONFIGS[name]
    flow = Flow(config)
    images = tf.fill([4, *config.image_shape], tf.constant(level, tf.uint8))
    flow.initialize(images)
    for path, variable in flow.named_variables().items():
        assert np.all(np.isfinite(variable)), path
    assert np.all(np.isfinite(flow.bits_per_dim(images)))
    assert np.all(np.isfinite(flow.bits_per_dim(random_images(config))))
    np.testing.assert_array_equal(flow.decode(flow.encode(images)), images)
    assert np.all(np.isfinite(flow.distribution().sample(4, seed=0)))


def test_a_constant_border_stays_finite():
    """Every second row is white, which makes squeezed channels constant, as in digits and logos with a border."""
    config = glow((8, 8, 1), K=4, L=2, width=8)
    images = random_images(config, 8).numpy()
    images[:, ::2] = 255
    flow = Flow(config)
    flow.initialize(tf.constant(images))
    bits = flow.bits_per_dim(tf.constant(images)).numpy()
    other = flow.bits_per_dim(random_images(config)).numpy()
    assert np.all(np.isfinite(bits)) and np.all(np.isfinite(other))
    for path, variable in flow.named_variables().items():
        if path.endswith("actnorm/logs"):
            assert np.exp(3 * variable.numpy()).max() < 101, path


def test_initialisation_improves_the_likelihood():
    config = glow((8, 8, 3), K=4, L=2, width=8)
    images = tf.cast(random_images(config, 16) // 8 + 100, tf.uint8)
    flow = Flow(config)
    before = flow.bits_per_dim(images).numpy().mean()
    flow.initialize(images)
    assert flow.bits_per_dim(images).numpy().mean() < before - 1


def test_nice_scales_its_latents_to_a_second_moment_of_one():
    config = nice((5,), K=2, width=8, blocks=1, base="normal")
    flow = Flow(config, dtype=tf.float64)
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (400, 5)) * [1.0, 0.5, 0.1, 1e-9, 0.0]
    flow.initialize_from(tf.constant(x))
    moments = np.mean(flow.bijector().forward(x).numpy() ** 2, axis=0)
    # Couplings begin as the identity. The last two dimensions, almost constant at 0, are scaled by the maximum, 100.
    assert_close(moments[:3], np.ones(3))
    assert_close(moments[3:], 1e4 * np.mean(x[:, 3:] ** 2, axis=0))
