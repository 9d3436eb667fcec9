"""A flow's distribution as TFP code uses it: reused, broadcast, sliced, mixed, without images, outside its support."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from absl import flags
from tensorflow_probability.python.internal import test_util

from glow_tf import Flow, glow, nice, real_nvp
from tests.marks import slow
from tests.models.flows import random_flow, random_images, random_inputs
from tests.tolerances import LOG_DET, assert_close

tfd = tfp.distributions

CONFIG = glow((4, 4, 1), K=1, L=2, width=4)
CONDITIONAL = glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, conditional=True)


@pytest.fixture(scope="module")
def conditional():
    return random_flow(CONDITIONAL)


def changes(flow, tmp_path):
    """Functions that change the weights of a flow, keyed by name."""
    other = random_flow(flow.config, seed=5)
    path = tf.train.Checkpoint(flow=other).write(str(tmp_path / "other"))
    return {
        "assign": lambda: [
            v.assign(w) for v, w in zip(flow.trainable_variables, other.trainable_variables, strict=True)
        ],
        "initialize": lambda: flow.initialize(random_images(flow.config, 8, seed=9)),
        "a checkpoint": lambda: tf.train.Checkpoint(flow=flow).read(path).assert_consumed(),
    }


@pytest.mark.parametrize("mode", ["eager", slow("in a function")])
def test_a_kept_distribution_follows_its_variables(mode, tmp_path):
    flow = random_flow(CONFIG)
    x, z = random_inputs(CONFIG), tf.constant(np.random.default_rng(1).standard_normal([3, 16]))

    def results(distribution, x, z):
        bijector = distribution.bijector
        return (
            distribution.log_prob(x),
            bijector.forward(z),
            bijector.forward_log_det_jacobian(z),
            bijector.inverse(x),
            bijector.inverse_log_det_jacobian(x),
            distribution.sample(2, seed=[0, 3]),
        )

    kept = flow.distribution()
    # References to all results are held, as TFP only caches results that are referenced.
    kept_results = (lambda: results(kept, x, z)) if mode == "eager" else tf.function(lambda: results(kept, x, z))
    before = kept_results()
    for name, change in changes(flow, tmp_path).items():
        change()
        after = kept_results()
        for new, expected in zip(after, results(flow.distribution(), tf.identity(x), tf.identity(z)), strict=True):
            assert_close(new, expected, 1e-9, name)
        assert all(np.abs(new - old).max() > 1e-6 for new, old in zip(after, before, strict=True)), name
        before = after


@pytest.mark.parametrize("mode", [slow("eager"), "in a function"])
def test_a_kept_distribution_trains(mode):
    flow = random_flow(CONFIG)
    x = random_inputs(CONFIG, 8)
    kept = flow.distribution()
    assert {id(v) for v in kept.trainable_variables} == {id(v) for v in flow.trainable_variables}
    optimizer = tf.keras.optimizers.Adam(1e-2)
    optimizer.build(flow.trainable_variables)

    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(kept.log_prob(x))
        gradients = tape.gradient(loss, kept.trainable_variables)
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply_gradients(zip(gradients, kept.trainable_variables, strict=True))
        return loss

    step = step if mode == "eager" else tf.function(step)
    losses = [float(step()) for _ in range(5)]
    assert losses[-1] < losses[0] - 0.5
    assert_close(-tf.reduce_mean(flow.distribution().log_prob(x)), -tf.reduce_mean(kept.log_prob(x)), 1e-12)


def test_a_kept_bijector_in_another_distribution(tmp_path):
    flow = random_flow(CONFIG)
    base = tfd.Sample(tfd.StudentT(tf.constant(5.0, tf.float64), 0, 1), 16)
    heavy = tfd.TransformedDistribution(base, tfp.bijectors.Invert(flow.bijector()))
    x = random_inputs(CONFIG)
    heavy.log_prob(x)
    changes(flow, tmp_path)["assign"]()
    with tf.GradientTape() as tape:
        log_prob = heavy.log_prob(x)
    z, log_det = flow.bijector().forward_and_log_det(x)
    assert_close(log_prob, base.log_prob(z) + log_det, LOG_DET)
    assert all(g is not None for g in tape.gradient(log_prob, heavy.trainable_variables))


def test_temperature_may_be_trained():
    flow = random_flow(CONFIG)
    temperature = tf.Variable(0.5)
    kept = flow.distribution(temperature=temperature)
    x = random_inputs(CONFIG)
    with tf.GradientTape() as tape:
        log_prob = kept.log_prob(x)
    assert np.abs(tape.gradient(log_prob, temperature)) > 0
    temperature.assign(0.8)
    assert_close(kept.log_prob(x), flow.distribution(temperature=0.8).log_prob(x), 1e-6)


def test_batch_shape_broadcasts(conditional):
    distribution = conditional.distribution(labels=[0, 1, 2])
    x = tf.concat([random_inputs(CONDITIONAL, 5), tf.zeros([1, 4, 4, 1], tf.float64)], 0)
    # One label at a time, which needs no broadcasting.
    expected = tf.stack([conditional.distribution(label).log_prob(x) for label in range(3)], axis=-1)
    assert_close(distribution.log_prob(x[0]), expected[0], LOG_DET)
    assert_close(distribution.log_prob(x[:5, tf.newaxis]), expected[:5], LOG_DET)
    assert_close(distribution.log_prob(x[:3]), tf.linalg.diag_part(expected[:3]), LOG_DET)
    assert_close(distribution.log_prob(x[tf.newaxis, :, tf.newaxis]), expected[tf.newaxis], LOG_DET)
    with pytest.raises(ValueError, match=r"batch shape \(3,\).*does not broadcast"):
        distribution.log_prob(x[:5])


def test_batch_shape_is_sliced(conditional):
    distribution = conditional.distribution(labels=[0, 1, 2])
    x = random_inputs(CONDITIONAL, 3)
    expected = distribution.log_prob(x)
    for slices, shape in (
        (1, []),
        (slice(1, None), [2]),
        ((Ellipsis, tf.newaxis), [3, 1]),
        (slice(None, None, -1), [3]),
    ):
        part = distribution[slices]
        assert part.batch_shape == shape
        points = tf.reshape(x if np.prod(shape) == 3 else x[-len(shape) * 2 :], [*shape, 4, 4, 1]) if shape else x[1]
        assert part.sample(2, seed=0).shape == [2, *shape, 4, 4, 1]
        assert part.log_prob(points).shape == shape
    assert_close(distribution[1].log_prob(x[1]), expected[1], LOG_DET)
    assert_close(distribution[::-1].log_prob(x[::-1]), expected[::-1], LOG_DET)
    assert_close(distribution[1:].log_prob(x[1:]), expected[1:], LOG_DET)


def test_mixture_of_classes(conditional):
    weights = np.array([0.2, 0.5, 0.3])
    mixture = tfd.MixtureSameFamily(tfd.Categorical(probs=weights), conditional.distribution(labels=[0, 1, 2]))
    x = random_inputs(CONDITIONAL, 4)
    class_log_probs = np.stack([conditional.distribution(label).log_prob(x) for label in range(3)], axis=-1)
    assert_close(mixture.log_prob(x), np.log(np.sum(weights * np.exp(class_log_probs), axis=-1)), LOG_DET)
    assert mixture.sample(6, seed=0).shape == [6, 4, 4, 1]
    with tf.GradientTape() as tape:
        loss = mixture.log_prob(x)
    assert all(g is not None for g in tape.gradient(loss, conditional.trainable_variables))


def test_labels_and_temperatures_broadcast(conditional):
    distribution = conditional.distribution(labels=[[0], [2]], temperature=[0.5, 0.7, 1.0])
    assert distribution.batch_shape == [2, 3]
    x = tf.identity(distribution.sample(2, seed=1))
    assert x.shape == [2, 2, 3, 4, 4, 1]
    log_prob = distribution.log_prob(x)
    for i, label in enumerate((0, 2)):
        for j, temperature in enumerate((0.5, 0.7, 1.0)):
            expected = conditional.distribution(label, temperature).log_prob(x[:, i, j])
            assert_close(log_prob[:, i, j], expected, LOG_DET)
            assert_close(distribution[i, j].log_prob(x[:, i, j]), expected, LOG_DET)


def test_sample_and_log_prob(conditional):
    distribution = conditional.distribution(labels=[2, 0])
    x, log_prob = distribution.experimental_sample_and_log_prob(3, seed=1)
    assert_close(log_prob, distribution.log_prob(tf.identity(x)), LOG_DET)


def test_distributions_of_tfp_hold_it(conditional):
    """In a joint distribution, and in a `TransformedDistribution`, which calls its `experimental_local_measure`."""
    joint = tfd.JointDistributionSequentialAutoBatched(
        [tfd.Categorical(probs=np.array([0.5, 0.25, 0.25])), lambda label: conditional.distribution(labels=label)]
    )
    label, x = joint.sample(seed=3)
    expected = np.log([0.5, 0.25, 0.25][int(label)]) + conditional.distribution(label).log_prob(x)
    assert_close(joint.log_prob([label, x]), expected, LOG_DET)
    shifted = tfd.TransformedDistribution(
        conditional.distribution(1), tfp.bijectors.Shift(tf.constant(2.0, tf.float64))
    )
    assert_close(shifted.log_prob(x + 2), conditional.distribution(1).log_prob(x), LOG_DET)


@pytest.fixture
def parsed_flags():
    """Marks absl's flags as parsed, as TFP's test helper reads its own."""
    parsed = flags.FLAGS.is_parsed()
    flags.FLAGS.mark_as_parsed()
    yield
    if not parsed:
        flags.FLAGS.unparse_flags()


def test_density_integrates_as_tfp_tests_it(parsed_flags):
    """The mean over samples x of 1 / p(x) inside a ball, and 0 outside, is the ball's volume."""
    flow = random_flow(nice((2,), K=2, width=4, blocks=1))

    class Helper(test_util.VectorDistributionTestHelpers, test_util.TestCase):
        def check(self):
            center = flow.bijector().inverse(tf.zeros([1, 2], tf.float64))[0]
            self.run_test_sample_consistent_log_prob(
                self.evaluate, flow.distribution(), num_samples=100_000, radius=0.5, center=center, rtol=0.05, seed=4
            )

    Helper("check").check()


@pytest.mark.parametrize(
    "config", [CONFIG, slow(glow((8, 4, 3), K=1, L=2, width=600)), slow(real_nvp((4, 4, 1)))], ids=lambda c: c.name
)
def test_no_images(config):
    flow = Flow(config)
    none = np.zeros([0, *config.image_shape], np.uint8)
    dimensions = config.dimensions
    assert flow.encode(none).shape == (0, dimensions)
    assert flow.decode(np.zeros([0, dimensions])).shape == none.shape
    assert flow.bits_per_dim(none).shape == (0,)
    assert [level.shape[0] for level in flow.features(none)] == [0] * len(config.latent_shapes)
    assert flow.sample(0).shape == none.shape
    distribution = flow.distribution()
    assert distribution.sample(0).shape == none.shape
    assert distribution.log_prob(tf.zeros(none.shape)).shape == (0,)
    assert distribution.log_prob(tf.zeros([0, 5, *config.image_shape])).shape == (0, 5)


def test_no_images_in_a_function():
    flow = random_flow(CONDITIONAL, tf.float32)
    spec = tf.TensorSpec([None, 4, 4, 1], tf.uint8), tf.TensorSpec([None], tf.int32)
    bits = tf.function(flow.bits_per_dim, input_signature=spec, autograph=False)
    images, labels = random_images(CONDITIONAL, 2), tf.constant([1, 2])
    assert bits(images[:0], labels[:0]).shape == (0,)
    assert_close(bits(images, labels), flow.bits_per_dim(images, labels), 1e-5)


def test_no_images_for_learned_noise():
    flow = random_flow(glow((4, 4, 1), K=1, L=1, width=4, num_classes=2, dequantizer="variational"), tf.float32)
    images, labels = random_images(flow.config, 2), tf.constant([1, 0])
    bits = tf.function(flow.bits_per_dim, autograph=False).get_concrete_function(
        tf.TensorSpec([None, 4, 4, 1], tf.uint8), tf.TensorSpec([None], tf.int32)
    )
    assert bits(images[:0], labels[:0]).shape == (0,)
    assert_close(bits(images, labels), flow.bits_per_dim(images, labels), 1e-5)
    assert flow.bits_per_dim(images[:0], labels[:0]).shape == (0,)


def test_only_float32_and_float64():
    for dtype in (tf.float16, tf.bfloat16, tf.int32):
        with pytest.raises(ValueError, match=f"dtype={dtype.name} must be float32 or float64"):
            Flow(CONFIG, dtype=dtype)


def test_unknown_static_sizes():
    flow = random_flow(CONDITIONAL, tf.float32)
    images, labels = random_images(CONDITIONAL, 2), tf.constant([1, 2])
    x = tf.cast(random_inputs(CONDITIONAL, 2), tf.float32)
    z = flow.encode(images, labels)
    for method, values, shape in (
        (flow.bits_per_dim, images, [None] * 4),
        (flow.encode, images, [None] * 4),
        (flow.encode, images, None),
        (flow.features, images, [None] * 4),
        (flow.decode, z, [None, None]),
        (flow.decode, z, None),
        (lambda x, labels: flow.distribution(labels).log_prob(x), x, [None] * 4),
        (lambda x, labels: flow.bijector(labels).forward(x), x, [None] * 4),
    ):
        function = tf.function(method, autograph=False)
        compiled = function.get_concrete_function(tf.TensorSpec(shape, values.dtype), tf.TensorSpec([None], tf.int32))
        outputs = [tf.nest.flatten(f(values, labels)) for f in (compiled, method)]
        for actual, expected in zip(*outputs, strict=True):
            assert_close(tf.cast(actual, tf.float32), tf.cast(expected, tf.float32), 1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.function(flow.encode, autograph=False).get_concrete_function(
            tf.TensorSpec([None] * 4, tf.uint8), tf.TensorSpec([None], tf.int32)
        )(tf.zeros([2, 4, 3, 1], tf.uint8), labels)


def test_outside_the_support():
    """Pixels beyond black and white are impossible under RealNVP, whose logit is not defined there."""
    flow = random_flow(real_nvp((4, 4, 1), L=1, width=4, blocks=1))
    x = random_inputs(flow.config, 4).numpy()
    x[1, 0, 0], x[2, 3, 1], x[3] = 0.6, -np.inf, np.nan
    distribution = flow.distribution()
    with tf.GradientTape() as tape:
        log_prob = distribution.log_prob(x[:3])
    assert np.isfinite(log_prob[0]) and log_prob[1] == -np.inf and log_prob[2] == -np.inf
    assert all(np.isfinite(g).all() for g in tape.gradient(log_prob, flow.trainable_variables))
    assert np.isnan(distribution.log_prob(x)[3])
    assert_close(log_prob[0], distribution.log_prob(x[0]), 1e-9)
    # Slightly beyond white, the logit is still defined: alpha is 0.05.
    x[1, 0, 0] = 0.5 + 0.04
    assert np.isfinite(distribution.log_prob(x[1]))


def test_tensors_of_another_size(conditional):
    distribution = conditional.distribution(1)
    for shape in ([2, 4, 4, 3], [4, 5, 1], [2, 2, 4, 1, 4]):
        with pytest.raises(ValueError, match=r"takes tensors of shape \[\.\.\., 4, 4, 1\]; it gets"):
            distribution.log_prob(tf.zeros(shape, tf.float64))
    with pytest.raises(ValueError, match="at least 3 dimensions"):
        distribution.log_prob(tf.zeros([2, 16], tf.float64))


@pytest.mark.parametrize("function", [lambda f: f, slow(lambda f: tf.function(f, autograph=False))])
def test_samples_without_a_seed_differ_unless_that_of_tensorflow_is_set(function):
    flow = random_flow(CONFIG, tf.float32)

    def draw(set_seed):
        set_seed(3)
        sample = function(lambda: flow.sample(2))
        return sample().numpy(), sample().numpy()

    first, second = draw(tf.random.set_seed)
    assert (first != second).any()
    for set_seed in (tf.random.set_seed, tf.keras.utils.set_random_seed):
        np.testing.assert_array_equal(draw(set_seed), (first, second))


def test_one_temperature_an_image():
    flow = random_flow(CONFIG, tf.float32)
    drawn = flow.sample(3, temperature=[0.0, 0.5, 1.0], seed=3)
    latents = flow.latent_distribution(temperature=[0.0, 0.5, 1.0]).sample(seed=[0, 3])
    np.testing.assert_array_equal(drawn, flow.decode(latents))
    np.testing.assert_array_equal(drawn[0], flow.sample(1, temperature=0.0)[0])
    for temperature, message in (
        ([0.5, 0.7], "one number, or one for each of 3 samples"),
        (float("nan"), "temperature=nan must be finite and not negative"),
        ([0.1, -0.5, 1.0], "must be finite and not negative"),
    ):
        with pytest.raises(ValueError, match=message):
            flow.sample(3, temperature=temperature)


def test_images_that_are_no_numbers_are_refused():
    flow = random_flow(CONFIG, tf.float32)
    z = flow.encode(random_images(CONFIG, 3)).numpy()
    z[1, 4] = np.nan
    with pytest.raises(ValueError, match="1 of 3 images are not finite.*temperature"):
        flow.decode(z)
    with pytest.raises(ValueError, match="2 of 2 images are not finite.*temperature"):
        flow.sample(2, temperature=1e30)


@pytest.mark.parametrize("gradient", [slow("stored"), "reversible"])
def test_forward_mode(gradient):
    """Jacobian-vector products equal finite differences; eager `reversible` ones raise an error with alternatives."""
    flow = random_flow(glow((4, 4, 1), K=2, L=1, width=4, gradient=gradient))
    x = random_inputs(flow.config, 2)
    tangent = tf.constant(np.random.default_rng(2).standard_normal(x.shape))
    log_prob = flow.distribution().log_prob
    expected = (log_prob(x + 1e-6 * tangent) - log_prob(x - 1e-6 * tangent)) / 2e-6

    def product(function):
        with tf.autodiff.ForwardAccumulator(x, tangent) as accumulator:
            return accumulator.jvp(function(x))

    assert_close(product(tf.function(log_prob, autograph=False)), expected, 1e-6)
    if gradient == "stored":
        assert_close(product(log_prob), expected, 1e-6)
    else:
        with pytest.raises(NotImplementedError, match=r"in a tf.function.*or choose gradient='stored'"):
            product(log_prob)


@pytest.mark.parametrize("temperature", [0.0, tf.constant(0.0), [0.5, 0.0]])
def test_temperature_0_has_samples_but_no_density(temperature):
    distribution = random_flow(CONFIG).distribution(temperature=temperature)
    x = distribution.sample(2, seed=0)
    assert np.all(np.isfinite(x))
    for call in (lambda: distribution.log_prob(x), lambda: distribution.experimental_sample_and_log_prob(2, seed=0)):
        with pytest.raises(ValueError, match="At temperature 0 there is no density"):
            call()
