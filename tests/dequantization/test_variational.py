"""Variational dequantization: noise from a flow conditioned on the image."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

import glow_tf
from glow_tf.dequantization import Uniform, Variational, random
from glow_tf.export.saved_model import export_saved_model
from glow_tf.networks import Cnn, ContextChannels, GatedAttention, GatedConvolutions, Resnet
from glow_tf.partitions import Channels, Positions
from glow_tf.training.optimizer import make_optimizer
from glow_tf.transforms import Additive, MixtureLogistic
from tests.extending.my_parts import Dense, ScaleAndShift
from tests.tolerances import assert_close, assert_gradient_close
from tests.training import helpers, runs

SMALL = Variational(n_bits=3, network=Resnet(width=4, blocks=1), depth=3)
# As in Flow++.
WITH_FEATURES = Variational(
    n_bits=3,
    network=GatedAttention(width=4, blocks=1, heads=2, dropout=0.0, image_channels=5),
    depth=3,
    partition=Positions(),
    features=GatedConvolutions(blocks=1),
    feature_channels=5,
)
# As in Flow++ for ImageNet: with attention in the features, and without attention at all.
WITH_ATTENTIVE_FEATURES = dataclasses.replace(
    WITH_FEATURES, features=GatedConvolutions(blocks=1, normalized=True, heads=2)
)
WITHOUT_ATTENTION = dataclasses.replace(
    WITH_FEATURES,
    network=dataclasses.replace(WITH_FEATURES.network, heads=0, final_elu=True),
    features=GatedConvolutions(blocks=1, normalized=True),
)
# Even and odd sides, colour and grey, a row, sequences, and flat vectors.
SHAPES = [(2, 2, 3), (3, 3, 1), (2, 3, 2), (1, 3, 1), (4, 1), (5, 2), (6,), (3,)]
QUICK = [(2, 2, 3), (3, 3, 1), (3,)]
DIVIDED = {
    "columns": ((2, 4, 1), dataclasses.replace(SMALL, partition=Positions())),
    "channels": ((2, 2, 2), dataclasses.replace(SMALL, partition=Channels())),
    "some channels": ((2, 2, 3), dataclasses.replace(SMALL, partition=Channels(first=1))),
    "features": ((2, 4, 1), WITH_FEATURES),
    "attentive features": ((2, 4, 1), WITH_ATTENTIVE_FEATURES),
    "no attention": ((2, 4, 1), WITHOUT_ATTENTION),
    "features of sequences": ((4, 2), WITH_FEATURES),
    "features of squeezed images": ((2, 2, 3), dataclasses.replace(SMALL, features=GatedConvolutions())),
}
every_kind = pytest.mark.parametrize(
    "shape,dequantizer",
    [
        pytest.param(*kind, marks=() if name == "features" or kind[0] in QUICK else pytest.mark.slow, id=name)
        for name, kind in ({str(shape): (shape, SMALL) for shape in SHAPES} | DIVIDED).items()
    ],
)


def flow_of(shape, dequantizer=SMALL, *, dtype=tf.float64, distance=0.1, layers=(), **fields):
    """A flow, by default a standard normal, with a dequantizer that is perturbed from the identity."""
    config = glow_tf.ModelConfig(name="one", image_shape=shape, layers=layers, dequantizer=dequantizer, **fields)
    flow = glow_tf.Flow(config, seed=1, dtype=dtype)
    rng = np.random.default_rng(5)
    for path, variable in flow.named_variables(trainable=True).items():
        if path.startswith("dequantizer"):
            variable.assign_add(tf.cast(distance * rng.standard_normal(variable.shape), dtype))
    return flow


def images(shape, n=3):
    return tf.constant(np.random.default_rng(0).integers(0, 256, [n, *shape]), tf.uint8)


@every_kind
def test_log_q_is_the_density_by_the_jacobian(shape, dequantizer, monkeypatch):
    flow, data = flow_of(shape, dequantizer), images(shape)
    eps = tf.constant(np.random.default_rng(1).logistic(size=data.shape))
    monkeypatch.setattr(random, "logistic_like", lambda images, seed: eps)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(eps)
        x, log_q = flow.dequantize(data)
    size = flow.config.dimensions
    jacobian = np.reshape(tape.batch_jacobian(x, eps, experimental_use_pfor=False), [-1, size, size])
    # Elements depend on the noise of others.
    assert np.count_nonzero(jacobian[0]) > size
    eps_log_prob = scipy.stats.logistic.logpdf(eps).reshape([-1, size]).sum(-1)
    assert_close(log_q, eps_log_prob - np.linalg.slogdet(jacobian)[1])


@every_kind
def test_what_rebuilds_activations_and_what_stores_them_have_the_same_gradients(shape, dequantizer):
    found = []
    for gradient in ("reversible", "stored"):
        flow, data = flow_of(shape, dequantizer, gradient=gradient), images(shape)
        variables = flow.named_variables(trainable=True)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(flow.bits_per_dim(data))
        found.append(tape.gradient(loss, list(variables.values())))
    for path, rebuilt, stored in zip(variables, *found, strict=True):
        assert np.abs(stored).max() > 0, path
        assert_gradient_close(rebuilt, stored, message=path)


@every_kind
def test_it_begins_as_uniform_noise(shape, dequantizer):
    # The default, deeper and wider, in place of the small one.
    dequantizer = Variational(n_bits=3) if dequantizer is SMALL else dequantizer
    config = glow_tf.ModelConfig(name="one", image_shape=shape, layers=(), dequantizer=dequantizer)
    uniform = glow_tf.Flow(dataclasses.replace(config, dequantizer=Uniform(n_bits=3)))
    flow, data = glow_tf.Flow(config), images(shape, 5)
    for initialised in (False, True):
        if initialised:
            flow.initialize(data)
        # It leaves out a thousandth of each bin.
        assert_close(flow.bits_per_dim(data), uniform.bits_per_dim(data) - math.log2(1 - 2**-10), 1e-4)
    np.testing.assert_array_equal(flow.decode(flow.encode(data)), data.numpy() & 0xE0)


def test_the_density_integrates_to_one():
    """The mean over the noise of 1 / q inside a box, and 0 outside, is the volume of the box."""
    flow = flow_of((2, 1, 1), distance=0.3)
    (image,) = images((2, 1, 1), 1)
    data = tf.repeat(image[tf.newaxis], 100_000, axis=0)
    x, log_q = flow.dequantize(data, seed=3, per_image=False)
    u = (x - flow.config.dequantizer.quantize(tf.cast(data, tf.float64))).numpy().reshape([-1, 2]) * 8
    widths = np.exp(-log_q.numpy()) * 8**2
    # The noise is far from uniform, and its elements are far from independent.
    assert np.abs(np.corrcoef(u.T)[0, 1]) > 0.05
    for low, high in itertools.product([(0.1, 0.5), (0.5, 0.9)], repeat=2):
        inside = (u[:, 0] > low[0]) & (u[:, 0] < low[1]) & (u[:, 1] > high[0]) & (u[:, 1] < high[1])
        assert abs(np.mean(np.where(inside, widths, 0)) / 0.4**2 - 1) < 0.05


@pytest.mark.parametrize("n_bits", [1, 5, 8])
@pytest.mark.parametrize("shift", [-200.0, -15.0, 15.0, 200.0])
def test_it_stays_in_the_bin_and_finite_in_float32(n_bits, shift):
    """The noise is driven closer to the edges of the bins than floats can resolve."""
    dequantizer = dataclasses.replace(SMALL, n_bits=n_bits)
    flow, data = flow_of((4, 4, 3), dequantizer, dtype=tf.float32), images((4, 4, 3), 64)
    bias = flow.named_variables()["dequantizer/network/leave/bias"]
    bias.assign(tf.where(tf.range(bias.shape[-1]) % 2 == 0, shift, bias))
    with tf.GradientTape() as tape:
        x, log_q = flow.dequantize(data)
    np.testing.assert_array_equal(dequantizer.to_images(x), data.numpy() >> (8 - n_bits) << (8 - n_bits))
    u = (x - dequantizer.quantize(data)).numpy() * 2**n_bits
    assert np.mean(u < 0.01 if shift < 0 else u > 0.99) > 0.9
    assert np.all(np.isfinite(log_q)) and np.all(log_q > 0)
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(log_q, flow.trainable_variables))


def log_weights(flow, data):
    """A function of a seed that draws noise and returns log p(x) - log q(x | image), [B]."""

    @functools.partial(tf.function, autograph=False)
    def draw(seed):
        x, log_q = flow.dequantize(data, seed=seed, per_image=False)
        return flow.distribution().log_prob(x) - log_q

    return draw


@functools.cache
def of_four_pixels():
    """log p(x) - log q(x | image) of 32 draws, [32, 800], for every image of four 1-bit pixels, 50 copies each.

    Also returns the images' exact log-probabilities, [800], under a density whose mass in each bin is known.
    """
    every = np.array(list(itertools.product([0, 128], repeat=4)), np.uint8)
    dequantizer = dataclasses.replace(SMALL, n_bits=1)
    flow = flow_of((4,), dequantizer, layers=(ScaleAndShift(initial=3.0),), distance=0.2)
    data = np.repeat(every, 50, axis=0)
    draw = log_weights(flow, data)
    draws = [draw(tf.constant([0, seed])) for seed in range(32)]
    shift = flow.named_variables()["layers/00_scaleandshift/shift"].numpy()
    below, middle, above = (scipy.stats.norm.cdf(3 * (edge + shift)) for edge in (-0.5, 0.0, 0.5))
    return np.stack(draws), np.log(np.where(data == 0, middle - below, above - middle)).sum(-1)


def mean_and_error(values):
    return np.mean(values), np.std(values) / np.sqrt(values.size)


def test_the_mean_of_p_by_q_is_the_probability_of_the_image():
    draws, exact = of_four_pixels()
    ratio, error = mean_and_error(np.exp(draws - exact))
    # Except for the thousandth of each bin that it leaves out.
    assert abs(ratio - (1 - 2**-10) ** 4) < 3 * error and error < 0.01


def test_the_bound_rises_to_the_log_probability():
    draws, exact = of_four_pixels()
    gaps = [scipy.special.logsumexp(draws[:k], axis=0) - np.log(k) - exact for k in (1, 4, 32)]
    for looser, tighter in itertools.pairwise(gaps):
        rise, error = mean_and_error(tighter - looser)
        assert rise > 3 * error
    (one, one_error), (many, many_error) = mean_and_error(gaps[0]), mean_and_error(gaps[-1])
    assert one < -3 * one_error and -0.06 < many < 3 * many_error
    # Summed over all possible images, each with the mean of its 50 bounds.
    for gap in gaps:
        assert np.sum(np.exp((gap + exact).reshape([16, 50]).mean(-1))) <= 1


def test_it_learns_to_explain_more_than_uniform_noise():
    """Bins are half of the range, under a normal distribution of scale 1 / 6."""
    layers, data = (ScaleAndShift(initial=6.0),), images((2, 2, 1), 64)
    uniform = flow_of((2, 2, 1), Uniform(n_bits=1), layers=layers, dtype=tf.float32)
    small = Variational(n_bits=1, network=Resnet(width=8, blocks=1), depth=2)
    flow = flow_of((2, 2, 1), small, layers=layers, dtype=tf.float32, distance=0.0)
    variables = [v for path, v in flow.named_variables(trainable=True).items() if path.startswith("dequantizer")]
    learned, plain = log_weights(flow, data), log_weights(uniform, data)

    optimizer = make_optimizer(helpers.training(learning_rate=0.05), variables)

    @functools.partial(tf.function, autograph=False)
    def train(seed):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(learned(seed))
        optimizer.apply(tape.gradient(loss, variables), variables)

    for step in range(100):
        train(tf.constant([0, step]))
    gained = [np.mean(learned(seed) - plain(seed)) for seed in tf.constant([[1, n] for n in range(5)])]
    # In nats, for four dimensions.
    assert np.mean(gained) > 1.0


def test_labels_and_a_context_reach_it():
    network = Cnn(width=4, num_classes=3)
    flow = flow_of((4, 4, 1), dataclasses.replace(SMALL, network=network), num_classes=3)
    data = images((4, 4, 1))
    assert flow.config.conditional
    found = [flow.bits_per_dim(data, [label] * 3).numpy() for label in (0, 1)]
    assert np.all(np.abs(found[0] - found[1]) > 1e-6)
    embedded = dataclasses.replace(SMALL, network=Dense(width=4, context_channels=2))
    flow = flow_of((4, 4, 1), embedded, distance=0.3)
    found = [flow.bits_per_dim(data, context={"embedding": tf.fill([3, 2], value)}).numpy() for value in (0.0, 1.0)]
    assert np.all(np.abs(found[0] - found[1]) > 1e-6)
    with pytest.raises(ValueError, match="must be a dictionary, which the image joins"):
        flow.bits_per_dim(data, context=tf.zeros([3, 2]))


def test_an_image_of_the_context_reaches_the_features_alone():
    """In the couplings, `image` is the one that is dequantized."""
    data, contexts = images((4, 4, 1)), [{"image": tf.fill([3, 2, 2, 4], value)} for value in (0.0, 1.0)]
    reads_it = ContextChannels(inner=Cnn(width=4), channels=4)
    features = dataclasses.replace(SMALL, features=reads_it, feature_channels=5)
    for dequantizer, changes in ((SMALL, False), (WITH_FEATURES, False), (features, True)):
        shape = (4, 4, 1)
        found = [flow_of(shape, dequantizer, distance=0.3).bits_per_dim(data, context=c).numpy() for c in contexts]
        assert np.all(found[0] != found[1]) if changes else np.all(found[0] == found[1])
    other_key = dataclasses.replace(reads_it, inner=Resnet(width=4, blocks=1), key="condition")
    flow = flow_of((4, 4, 1), dataclasses.replace(SMALL, network=other_key), distance=0.3)
    found = [flow.bits_per_dim(data, context={"condition": context["image"]}).numpy() for context in contexts]
    assert np.all(found[0] != found[1])


def test_its_networks_draw_by_the_seed_in_training():
    flow, data = flow_of((4, 4, 1), dataclasses.replace(SMALL, network=Dense(width=8, dropout=0.5))), images((4, 4, 1))
    eps = {"seed": tf.constant([[0, 1], [0, 2], [0, 3]])}
    evaluated, trained, again = (flow.dequantize(data, training=training, **eps)[1] for training in (False, True, True))
    np.testing.assert_array_equal(trained, again)
    assert np.all(trained != evaluated)


def moved(config):
    flow = glow_tf.Flow(dataclasses.replace(config, dequantizer=dataclasses.replace(SMALL, n_bits=5)))
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape))
    return flow


def test_it_is_saved_and_loaded(tmp_path):
    flow, data = moved(helpers.TINY), images(helpers.TINY.image_shape)
    glow_tf.save(flow, tmp_path / "flow")
    np.testing.assert_array_equal(glow_tf.load(tmp_path / "flow").bits_per_dim(data), flow.bits_per_dim(data))


@pytest.mark.slow
@pytest.mark.parametrize("config", [glow_tf.glow((4, 4, 3), K=1, L=1, width=4, num_classes=3), helpers.TINY])
def test_it_is_part_of_a_saved_model(config, tmp_path):
    flow, data = moved(config), images(config.image_shape)
    given = {"labels": tf.constant([0, 2, 1])} if config.conditional else {}
    export_saved_model(flow, tmp_path)
    served = tf.saved_model.load(str(tmp_path))
    expected = flow.bits_per_dim(data, **given)
    np.testing.assert_allclose(served.log_prob(images=data, **given)["bits_per_dim"], expected, rtol=1e-5)
    none = {name: values[:0] for name, values in {"images": data, **given}.items()}
    assert served.log_prob(**none)["bits_per_dim"].shape == (0,)


@pytest.mark.slow
def test_a_run_is_resumed_bit_for_bit(tmp_path):
    config = dataclasses.replace(helpers.TINY, dequantizer=SMALL)
    source = runs.make_source(tmp_path, config)
    _, result = runs.train(tmp_path / "run", source, config, eval_every=4, checkpoint_every=4)
    flow = glow_tf.load(tmp_path / "run")
    held_out = np.concatenate([np.asarray(batch[0]) for batch in source.batches("test", 11).as_numpy_iterator()])
    np.testing.assert_allclose(np.mean(flow.bits_per_dim(held_out)), result.mean, rtol=1e-5)
    longer, _ = runs.train(tmp_path / "run", source, config, steps=12)
    at_once, _ = runs.train(tmp_path / "at_once", source, config, steps=12)
    runs.assert_same_weights(longer, at_once)


def test_the_feature_network_is_initialised_from_the_data():
    flow = glow_tf.Flow(
        glow_tf.ModelConfig(
            name="one",
            image_shape=(4, 4, 1),
            layers=(),
            dequantizer=Variational(network=Cnn(width=3), depth=2, features=Cnn(width=8), feature_channels=5),
        ),
        dtype=tf.float64,
    )
    rng, tensors = np.random.default_rng(0), flow.named_variables(trainable=True)
    for path in ("dequantizer/features/conv3/kernel", "dequantizer/features/actnorm1/bias"):
        tensors[path].assign_add(rng.standard_normal(tensors[path].shape))
    data = images((4, 4, 1), 16)
    flow.initialize(data)

    centers = ((data.numpy() + 0.5) / 256 - 0.5).reshape([16, 2, 2, 2, 2])
    squeezed = centers.transpose([0, 1, 3, 2, 4]).reshape([16, 2, 2, 4])
    prefix = "dequantizer/features/"
    features = {path.removeprefix(prefix): v.numpy()[0] for path, v in tensors.items() if path.startswith(prefix)}
    # The fifth channel is the indicator of the padding.
    padded = np.pad(np.concatenate([squeezed, np.zeros([16, 2, 2, 1])], -1), [(0, 0), (1, 1), (1, 1), (0, 0)])
    padded[..., -1] = 1
    padded[:, 1:-1, 1:-1, -1] = 0
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    hidden = np.einsum("bhwcij,ijcd->bhwd", windows, features["conv1/kernel"])
    assert_close(features["actnorm1/bias"], -hidden.mean((0, 1, 2)))
    assert_close(np.exp(-3 * features["actnorm1/logs"]), np.maximum(hidden.std((0, 1, 2)), 1e-2))


@pytest.mark.parametrize("name", ["glow", "real_nvp", "nice"])
def test_presets_take_it_by_name(name):
    config = getattr(glow_tf, name)((8, 8, 1), n_bits=5, dequantizer="variational")
    assert config.dequantizer == Variational(n_bits=5)
    assert glow_tf.ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Variational(depth=0), "depth=0 must be an integer of at least 1"),
        (lambda: Variational(partition="columns"), "partition='columns' is not a partition"),
        (lambda: Variational(features="cnn"), "features='cnn' is not a network"),
        (lambda: Variational(feature_channels=0), "feature_channels=0 must be an integer of at least 1"),
        (
            lambda: Variational(network=ContextChannels(inner=Resnet(width=4), channels=4)),
            "network=ContextChannels with the key 'image' would read the image that is dequantized",
        ),
        (lambda: Variational(network="cnn"), "network='cnn' is not a network"),
        (lambda: Variational(coupling="affine"), "coupling='affine' is not a transform"),
        (lambda: Variational(n_bits=9), "n_bits=9 must be at most 8"),
        (
            lambda: Variational(coupling=MixtureLogistic(components=4)),
            "network=Resnet gives 2 parameters an element, and coupling=MixtureLogistic takes 14",
        ),
        (
            lambda: Variational(coupling=Additive()),
            "network=Resnet gives 2 parameters an element, and coupling=Additive takes 1",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
