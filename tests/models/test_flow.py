import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import Flow, nice
from glow_tf.dequantization import Uniform, random
from glow_tf.models.likelihood import likelihood
from glow_tf.models.seeds import stateless_seed
from tests.bijector_checks import normal_log_density
from tests.marks import mostly_slow, slow
from tests.models.flows import CONFIGS, random_flow, random_images, random_inputs, random_labels, randomise
from tests.tolerances import EXCEPTIONS, assert_close

CONFIG = CONFIGS["glow-colour"]


@pytest.fixture(scope="module")
def flow():
    return random_flow(CONFIG, tf.float32)


def test_shapes_and_dtypes(flow):
    images = random_images(CONFIG, 5)
    z = flow.encode(images)
    assert z.shape == (5, 4 * 8 * 3) and z.dtype == tf.float32
    assert flow.decode(z).shape == (5, 4, 8, 3) and flow.decode(z).dtype == tf.uint8
    bits = flow.bits_per_dim(images)
    assert bits.shape == (5,) and bits.dtype == tf.float32
    drawn = flow.sample(7)
    assert drawn.shape == (7, 4, 8, 3) and drawn.dtype == tf.uint8
    distribution = flow.distribution()
    assert distribution.batch_shape == [] and distribution.event_shape == [4, 8, 3]
    assert all(v.dtype in (tf.float32, tf.int64, tf.bool) for v in flow.variables)


@pytest.mark.parametrize("n_bits", [slow(8), 5, slow(1)])
def test_bits_per_dim_from_the_density(n_bits):
    config = dataclasses.replace(CONFIG, dequantizer=Uniform(n_bits=n_bits))
    flow, images = random_flow(config), random_images(config)
    seeds = random.seeds_of(images, tf.constant([0, 11]))
    x, _ = Uniform(n_bits=n_bits).noise(tf.cast(images, tf.float64), {}, seeds)
    z, log_det = flow.bijector().forward_and_log_det(x)
    log_prob = normal_log_density(z, 1) + log_det.numpy()
    assert_close(flow.distribution().log_prob(x), log_prob)
    dimensions = 4 * 8 * 3
    expected = (-log_prob + dimensions * np.log(2**n_bits)) / (dimensions * np.log(2))
    assert_close(flow.bits_per_dim(images, seed=11), expected)
    assert_close(flow.bits_per_dim(images, seed=tf.constant([0, 11])), expected)
    assert np.abs(flow.bits_per_dim(images, seed=12) - expected).max() > 0


def test_the_logistic_base():
    config = CONFIGS["nice"]
    flow, x = random_flow(config), random_inputs(config)
    z, log_det = flow.bijector().forward_and_log_det(x)
    z = z.numpy()
    assert_close(flow.distribution().log_prob(x), (-z - 2 * np.log1p(np.exp(-z))).sum(1) + log_det.numpy())


@pytest.mark.parametrize(
    ("name", "n_bits"),
    mostly_slow(
        [(name, n_bits) for name in ("glow-colour", "glow-labels", "real_nvp", "nice-colour-odd") for n_bits in (8, 5)],
        [("glow-labels", 8), ("real_nvp", 5), ("nice-colour-odd", 8)],
    ),
)
def test_decode_inverts_encode(name, n_bits):
    config = dataclasses.replace(CONFIGS[name], dequantizer=Uniform(n_bits=n_bits))
    flow, labels = random_flow(config, tf.float32), random_labels(config, 8)
    images = random_images(config, 8).numpy()
    images[0], images[1] = 0, 255
    again = flow.decode(flow.encode(tf.constant(images), labels), labels)
    np.testing.assert_array_equal(again, images & (0xFF << (8 - n_bits) & 0xFF))


def log_prob_parts(flow, x, labels=None):
    """The terms of log_prob in nats, and the latents."""
    found = likelihood(flow, x, tf.zeros(x.shape[:1], x.dtype), labels)
    scale = -flow.config.dimensions * np.log(2)
    return {name: scale * part for name, part in found.parts.items() if name != "dequantization"}, found.latents


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        *(("glow-colour", 2), ("glow-labels", 1), ("nice-flat", 1)),
        *(slow((name, 2)) for name in ("glow-labels-only", "glow-no-top-prior", "real_nvp")),
        *(slow((name, 3)) for name in ("glow-three-levels", "real_nvp-two-levels")),
        slow(("nice", 1)),
    ],
)
def test_log_prob_is_the_sum_of_its_parts(name, levels):
    config = CONFIGS[name]
    flow, x, labels = random_flow(config), random_inputs(config), random_labels(config)
    parts, z = log_prob_parts(flow, x, labels)
    assert list(parts) == [f"{kind}/level_{n + 1}" for kind in ("log_det", "prior") for n in range(levels)]
    assert {part.shape for part in parts.values()} == {(3,)}
    assert_close(sum(parts.values()), flow.distribution(labels).log_prob(x))
    assert_close(z, flow.bijector(labels).forward(tf.identity(x)))
    assert all(np.abs(part).min() > 0 for part in parts.values())


def test_the_parts_of_a_prior_by_hand():
    """At level 1, the prior is a Gaussian, predicted by the split's convolution from the channels that it keeps."""
    flow, x = random_flow(CONFIG), random_inputs(CONFIG)
    parts, _ = log_prob_parts(flow, x)
    layers = flow.bijector().layers
    h, log_det = layers[0].forward_and_log_det(x)
    h, steps_log_det = layers[1].forward_and_log_det(h)
    assert_close(parts["log_det/level_1"], log_det + steps_log_det)

    kept, factored = np.split(h.numpy(), 2, axis=-1)
    kernel, bias, logs = (flow.named_variables()[f"layers/02_split/{n}"].numpy() for n in ("kernel", "bias", "logs"))
    batch, height, width, channels = kept.shape
    # Zero padding, marked by ones in an additional channel.
    padded = np.zeros([batch, height + 2, width + 2, channels + 1])
    padded[:, :, :, -1] = 1
    padded[:, 1:-1, 1:-1, :-1], padded[:, 1:-1, 1:-1, -1] = kept, 0
    predicted = sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
    predicted = (predicted + bias) * np.exp(3 * logs)
    mean, log_stddev = predicted[..., 0::2], predicted[..., 1::2]
    log_density = -0.5 * np.log(2 * np.pi) - log_stddev - 0.5 * ((factored - mean) / np.exp(log_stddev)) ** 2
    assert_close(parts["prior/level_1"], log_density.sum((1, 2, 3)))


def test_images_are_checked(flow):
    with pytest.raises(ValueError, match=r"must be uint8 .* these are float32.*distribution\(\)\.log_prob"):
        flow.bits_per_dim(tf.zeros([1, 4, 8, 3]))
    with pytest.raises(ValueError, match="must be uint8"):
        flow.encode(tf.zeros([1, 4, 8, 3], tf.int32))
    for shape in ([1, 8, 4, 3], [4, 8, 3], [1, 4, 8, 1]):
        for method in (flow.bits_per_dim, flow.encode, flow.initialize):
            with pytest.raises(ValueError, match=r"must have shape \[B, 4, 8, 3\]; these have \("):
                method(tf.zeros(shape, tf.uint8))
    with pytest.raises(ValueError, match=r"must have shape \[B, 7\]"):
        random_flow(CONFIGS["nice-flat"]).encode(tf.zeros([2, 6], tf.uint8))
    with pytest.raises(ValueError, match=r"Latents must have shape \[B, 96\]; these have \(2, 95\)"):
        flow.decode(tf.zeros([2, 95]))


def test_numpy_arrays_are_images_too(flow):
    images = random_images(CONFIG).numpy()
    np.testing.assert_array_equal(flow.decode(flow.encode(images).numpy()), images)


def test_temperature_zero_is_the_mode(flow):
    drawn = flow.sample(4, temperature=0.0, seed=3).numpy()
    mode = flow.decode(tf.zeros([1, 96])).numpy()
    np.testing.assert_array_equal(drawn, np.broadcast_to(mode, drawn.shape))


@pytest.mark.parametrize("temperature", [0.7, tf.constant(0.5)])
def test_temperature_scales_the_latents(flow, temperature):
    latents = [
        flow.bijector().forward(flow.distribution(temperature=t).sample(4, seed=[0, 5])).numpy()
        for t in (1.0, temperature)
    ]
    assert_close(latents[1], float(temperature) * latents[0], 1e-3)


def test_samples_are_drawn_from_their_seed(flow):
    first, again, other = (flow.sample(3, seed=s).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(flow.sample(3, seed=stateless_seed(1)), first)
    assert (first[0] != first[1]).any()


def test_what_a_flow_says_that_it_is():
    flow = Flow(CONFIG)
    count = sum(int(np.prod(v.shape)) for v in flow.trainable_variables)
    assert repr(flow) == f"<Flow glow of images 4x8x3, 8 bits, 2 levels, K=2, {count:,} parameters, not initialized>"
    flow.initialize(random_images(CONFIG))
    assert repr(flow).endswith(" parameters, initialized>")
    said = []
    tf.function(lambda: said.append(repr(flow)), autograph=False)()
    assert said == [repr(flow)]


def test_latents_of_samples_are_standard_normal():
    flow = random_flow(CONFIG)
    z = flow.bijector().forward(tf.identity(flow.distribution().sample(200, seed=0))).numpy()
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03


def test_weights_are_drawn_from_the_seed():
    first, again, other = (Flow(CONFIG, seed=s).named_variables() for s in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name], err_msg=name)
    assert any((first[name].numpy() != other[name].numpy()).any() for name in first)


def test_named_variables(flow):
    variables = flow.named_variables()
    assert len({id(v) for v in variables.values()}) == len(variables)
    assert {id(v) for v in flow.variables} - {id(v) for v in variables.values()} == {id(flow.initialized)}
    assert all(v.name.split(":")[0] == name for name, v in variables.items())
    assert variables["layers/01_steps/network/conv1/kernel"].shape == (2, 3, 3, 7, 4)
    fixed = {name for name, v in variables.items() if not v.trainable}
    assert fixed == {f"layers/{i}_steps/conv1x1/{n}" for i in ("01", "04") for n in ("permutation", "sign")}


def test_float32_is_float64_to_its_precision():
    single, double = Flow(CONFIG), Flow(CONFIG, dtype=tf.float64)
    for a, b in zip(single.variables, double.variables, strict=True):
        np.testing.assert_allclose(tf.cast(a, tf.float64), tf.cast(b, tf.float64), rtol=1e-6, atol=1e-7)
    x = random_inputs(CONFIG)
    scale = -1 / (double.config.dimensions * np.log(2))
    expected = scale * double.distribution().log_prob(x)
    bits = scale * single.distribution().log_prob(tf.cast(x, tf.float32))
    assert_close(bits, expected, EXCEPTIONS["float32"])


@pytest.mark.parametrize("name", ["nice", slow("glow-one-level"), slow("glow-colour"), slow("real_nvp")])
def test_in_tf_function(name):
    config = CONFIGS[name]
    flow, images = random_flow(config), random_images(config)
    signature = [tf.TensorSpec([None, *config.image_shape], tf.uint8)]
    bits = tf.function(lambda images: flow.bits_per_dim(images, seed=2), input_signature=signature)
    assert_close(bits(images), flow.bits_per_dim(images, seed=2))
    around = tf.function(lambda images: flow.decode(flow.encode(images)), input_signature=signature)
    np.testing.assert_array_equal(around(images), images)
    sample = tf.function(lambda temperature, seed: flow.sample(2, temperature, seed=seed))
    drawn = sample(tf.constant(0.7), tf.constant([0, 3]))
    np.testing.assert_array_equal(drawn, flow.sample(2, 0.7, seed=3))


@pytest.mark.parametrize("name", [slow("glow-shuffle-affine"), "glow-labels", slow("real_nvp"), "nice"])
def test_checkpoint(name, tmp_path):
    config = CONFIGS[name]
    flow = random_flow(config)
    path = tf.train.Checkpoint(flow=flow).write(str(tmp_path / "flow"))
    other = Flow(config, seed=5, dtype=tf.float64)
    tf.train.Checkpoint(flow=other).read(path).assert_consumed()
    assert other.initialized.numpy()
    for key, variable in flow.named_variables().items():
        np.testing.assert_array_equal(variable, other.named_variables()[key], err_msg=key)
    stored = {key for key, _ in tf.train.list_variables(path)}
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    assert {f"flow/{key}{suffix}" for key in flow.named_variables()} <= stored


def test_distribution_is_one_of_tfp(flow):
    distribution = flow.distribution()
    assert isinstance(distribution, tfp.distributions.Distribution)
    x = tf.cast(random_inputs(CONFIG), tf.float32)
    assert_close(distribution.bijector.inverse(x), flow.bijector().forward(tf.identity(x)))
    batch = tfp.distributions.Sample(distribution, 2)
    assert_close(batch.log_prob(x[:2]), tf.reduce_sum(distribution.log_prob(tf.identity(x[:2]))), 1e-5)


def test_gradient_of_a_sample_reaches_the_weights():
    """Samples are reparameterised: the inverse direction is differentiable as well."""
    flow = randomise(Flow(nice((4,), K=2, width=4, blocks=1), dtype=tf.float64))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(flow.distribution().sample(8, seed=0) ** 2)
    for variable, grad in zip(flow.trainable_variables, tape.gradient(loss, flow.trainable_variables), strict=True):
        assert grad is not None and np.abs(grad).max() > 0, variable.name
