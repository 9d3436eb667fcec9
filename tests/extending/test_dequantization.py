"""A custom dequantizer, trained jointly with the flow, in everything that computes a likelihood."""

import dataclasses
import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.analysis.likelihood import Scorer
from glow_tf.dequantization import Uniform, random
from glow_tf.export.saved_model import export_saved_model
from glow_tf.training.batches import dequantized, dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluator
from tests.extending.my_parts import LogitNormal, ScaleAndShift
from tests.marks import slow
from tests.tolerances import assert_close, assert_gradient_close
from tests.training import helpers, runs

CONFIG = dataclasses.replace(helpers.TINY, dequantizer=LogitNormal(n_bits=5))
LABELLED = dataclasses.replace(helpers.LABELLED, classifier=False, dequantizer=LogitNormal(n_bits=5, num_classes=3))


def moved(config=CONFIG, dtype=tf.float32):
    flow = glow_tf.Flow(config, seed=1, dtype=dtype)
    rng = np.random.default_rng(5)
    for variable in flow.named_variables(trainable=True).values():
        variable.assign_add(tf.cast(0.1 * rng.standard_normal(variable.shape), variable.dtype))
    return flow


def images(n=6, config=CONFIG):
    return tf.constant(helpers.random_images(n, config, seed=4))


def labels(n=6):
    return tf.range(n) % 3


def test_it_is_stored_in_the_config():
    text = CONFIG.to_json()
    assert glow_tf.ModelConfig.from_json(text) == CONFIG
    stored = json.loads(text)["dequantizer"]
    assert stored == {
        "dequantizer": "LogitNormal",
        "module": "tests.extending.my_parts",
        "n_bits": 5,
        "num_classes": 0,
    }
    assert glow_tf.glow((8, 8, 3), dequantizer=LogitNormal(n_bits=3)).n_bits == 3


def log_density_of_noise(flow, u, data):
    """The log-density of the noise by hand."""
    shift, slope, log_scale = (
        flow.named_variables()[f"dequantizer/{n}"].numpy() for n in ("shift", "slope", "log_scale")
    )
    quantized = np.floor(data / 8) / 32 - 0.5
    t = np.log(u) - np.log1p(-u)
    normal = (t - shift - slope * quantized) / np.exp(log_scale)
    return -0.5 * normal**2 - 0.5 * np.log(2 * np.pi) - log_scale - np.log(u * (1 - u))


def test_the_likelihood_by_hand():
    flow, data = moved(dtype=tf.float64), images()
    x, log_q = flow.dequantize(data, seed=3)
    quantized = np.floor(data.numpy() / 8) / 32 - 0.5
    # Of each bin, noise takes the first 1 - 2^-10.
    width = (1 - 2.0**-10) / 32
    u = (x - quantized).numpy() / width
    by_hand = log_density_of_noise(flow, u, data.numpy()).sum((1, 2, 3)) - 48 * np.log(width)
    assert_close(log_q, by_hand)
    expected = (by_hand - flow.distribution().log_prob(x)) / (48 * np.log(2))
    assert_close(flow.bits_per_dim(data, seed=3), expected)
    # Each value depends on its image alone, whatever the batch.
    assert_close(flow.bits_per_dim(data[2:4], seed=3), expected[2:4])
    np.testing.assert_array_equal(flow.decode(flow.encode(data)), data.numpy() & 0xF8)


@pytest.mark.parametrize("config", [CONFIG, slow(LABELLED)], ids=["plain", "labelled"])
def test_whatever_computes_a_likelihood_computes_the_same(config):
    flow, data = moved(config), images(config=config)
    image_labels = labels() if config.conditional else None
    expected = flow.bits_per_dim(data, image_labels, seed=0).numpy()
    batch = {"images": data.numpy(), "labels": labels().numpy()}

    scores = Scorer(flow)([batch])
    np.testing.assert_allclose(scores.bits_per_dim, expected, rtol=1e-5)
    np.testing.assert_allclose(sum(scores.parts.values()), expected, rtol=1e-5)

    dataset = tf.data.Dataset.from_tensors(batch)
    found = Evaluator(flow, tf.distribute.get_strategy())(dequantized_for_evaluation(dataset, config))
    np.testing.assert_allclose(found.mean, expected.mean(), rtol=1e-5)

    layer = glow_tf.keras_layer(flow)
    np.testing.assert_allclose(layer((data, image_labels)), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, LABELLED], ids=["plain", "labelled"])
def test_a_saved_model_computes_the_same_and_the_same_gradients(config, tmp_path):
    """The SavedModel runs in a process without this package."""
    flow, data = moved(config), images(config=config)
    image_labels = labels() if config.conditional else None
    expected = flow.bits_per_dim(data, image_labels, seed=0).numpy()
    export_saved_model(flow, tmp_path / "export")
    np.savez(tmp_path / "images.npz", images=data, labels=labels())
    code = (
        "import sys, json, numpy as np, tensorflow as tf\n"
        f"loaded = tf.saved_model.load({str(tmp_path / 'export')!r})\n"
        f"data = np.load({str(tmp_path / 'images.npz')!r})\n"
        f"given = {{name: data[name] for name in {['images', *(['labels'] if config.conditional else [])]}}}\n"
        "with tf.GradientTape() as tape:\n"
        "    bits = loaded.log_prob(**given)['bits_per_dim']\n"
        "gradients = tape.gradient(bits, loaded.trainable_variables)\n"
        "assert 'glow_tf' not in sys.modules and all(g is not None for g in gradients)\n"
        "print(json.dumps([bits.numpy().tolist(), [tf.convert_to_tensor(g).numpy().tolist() for g in gradients]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    served, gradients = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(served, expected, rtol=1e-5)
    variables = flow.trainable_variables
    with tf.GradientTape() as tape:
        bits = flow.bits_per_dim(data, image_labels, seed=0)
    for variable, served, own in zip(variables, gradients, tape.gradient(bits, variables), strict=True):
        assert_gradient_close(np.array(served), tf.convert_to_tensor(own), 1e-4, message=variable.name)


def test_the_importance_weighted_bound_by_hand():
    flow, data = moved(), images()
    draws = np.stack([-48 * flow.bits_per_dim(data, seed=seed).numpy().astype(float) for seed in (0, 1, 2)])
    scores = Scorer(flow)([{"images": data.numpy(), "labels": labels().numpy()}], draws=3)
    bound = np.log2(np.mean(2 ** (draws - draws.max(0)), axis=0)) + draws.max(0)
    np.testing.assert_allclose(scores.importance_weighted, -bound / 48, rtol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, slow(LABELLED)], ids=["plain", "labelled"])
@pytest.mark.parametrize("shards", [1, 2])
def test_training_does_not_depend_on_replicas_and_shards(config, shards):
    training = helpers.training(batch_size=8)
    one = helpers.Run(training, config)
    start = [v.numpy() for v in one.variables]
    expected = one(3)
    two = helpers.Run(training, config, strategy=helpers.two_replicas(), shards=shards)
    found = two(3)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    for path, a, b, before in zip(
        one.flow.named_variables(trainable=True), one.weights(), two.weights(), start, strict=True
    ):
        np.testing.assert_allclose(b, a, atol=2e-4, err_msg=path)
        if path.startswith("dequantizer"):
            assert np.abs(a - before).max() > 1e-3


def test_batches_draw_other_noise_at_each_step():
    data = tf.data.Dataset.from_tensors({"images": images(), "labels": labels()}).repeat(2)
    first, second = dequantized(data, CONFIG, seed=1)
    (again,) = dequantized(data.take(1), CONFIG, seed=1, start_step=1)
    assert np.all(first["seeds"] != second["seeds"]) and len(np.unique(first["seeds"])) == 12
    np.testing.assert_array_equal(again["seeds"], second["seeds"])


def test_learned_noise_explains_more_than_uniform():
    """Under a normal distribution of scale 1 / 6, the density decreases within a bin, which is half of the range."""
    config = glow_tf.ModelConfig(name="mine", image_shape=(4,), layers=(ScaleAndShift(initial=6.0),))
    data = tf.constant(np.random.default_rng(0).integers(0, 256, [256, 4]), tf.uint8)
    bits = {}
    for dequantizer in (Uniform(n_bits=1), LogitNormal(n_bits=1)):
        flow = glow_tf.Flow(dataclasses.replace(config, dequantizer=dequantizer))
        variables = [v for path, v in flow.named_variables(trainable=True).items() if path.startswith("dequantizer")]

        # Traced, as drawing noise one image at a time takes far longer eagerly.
        @functools.partial(tf.function, autograph=False)
        def loss_and_gradients(seed, flow=flow, variables=variables):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(flow.bits_per_dim(data, seed=seed))
            return loss, tape.gradient(loss, variables)

        for step in range(60 if variables else 0):
            _, gradients = loss_and_gradients(tf.constant([0, step + 1]))
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(2.0 * gradient)
        bits[dequantizer.__class__] = np.mean([loss_and_gradients(tf.constant([0, seed]))[0] for seed in range(20)])
    # Learned noise closes the gap of the bound, which is tight if the noise has the density of the flow.
    assert bits[LogitNormal] < bits[Uniform] - 0.2


def test_initialisation_sets_it_from_the_images():
    flow, data = glow_tf.Flow(CONFIG), images(32)
    flow.initialize(data)
    expected = -np.mean(np.floor(data.numpy() / 8) / 32 - 0.5, axis=(0, 1, 2))
    assert_close(flow.named_variables()["dequantizer/shift"], expected, 1e-5)


def test_a_run_is_trained_saved_and_evaluated(tmp_path):
    source = runs.make_source(tmp_path, CONFIG)
    _, result = runs.train(tmp_path / "run", source, CONFIG, eval_every=4, checkpoint_every=4)
    assert result.parts["dequantization"] != pytest.approx(5, abs=1e-3)
    last = runs.lines(tmp_path / "run", "test")[-1]
    assert last["dequantization"] == pytest.approx(result.parts["dequantization"])
    flow = glow_tf.load(tmp_path / "run")
    assert flow.config == CONFIG
    test = source.batches("test", 11)
    held_out = np.concatenate([np.asarray(batch[0]) for batch in test.as_numpy_iterator()])
    np.testing.assert_allclose(np.mean(flow.bits_per_dim(held_out)), result.mean, rtol=1e-5)


@pytest.mark.slow
def test_a_run_is_resumed_bit_for_bit(tmp_path):
    source = runs.make_source(tmp_path, CONFIG)
    runs.train(tmp_path / "run", source, CONFIG, checkpoint_every=4)
    longer, _ = runs.train(tmp_path / "run", source, CONFIG, steps=12)
    at_once, _ = runs.train(tmp_path / "at_once", source, CONFIG, steps=12)
    runs.assert_same_weights(longer, at_once)


@pytest.mark.slow
def test_compiled_by_xla():
    training = helpers.training(batch_size=8)
    plain, compiled = helpers.Run(training, CONFIG), helpers.Run(dataclasses.replace(training, xla=True), CONFIG)
    np.testing.assert_allclose(compiled(3)["loss"], plain(3)["loss"], rtol=1e-4)


def test_in_a_model_that_keras_fits():
    flow = moved()
    layer = glow_tf.keras_layer(flow)
    model = keras.Sequential([layer])
    model.compile("adam")
    before = flow.named_variables()["dequantizer/shift"].numpy()
    model.fit(images(16).numpy(), verbose=0)
    assert np.all(flow.named_variables()["dequantizer/shift"] != before)


def test_seeds_are_of_each_image():
    data = images()
    seeds = random.seeds_of(data, tf.constant([0, 3]))
    flow = moved()
    for a, b in zip(flow.dequantize(data, seed=3), flow.dequantize(data, seed=seeds), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(flow.dequantize(data, seed=3, per_image=False)[0] != flow.dequantize(data, seed=3)[0])


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: LogitNormal(n_bits=9), "n_bits=9 must be at most 8"),
        (
            lambda: glow_tf.glow((8, 8, 3), dequantizer="gaussian"),
            "dequantizer='gaussian' is not one of 'uniform', 'variational'",
        ),
        (
            lambda: dataclasses.replace(CONFIG, dequantizer="uniform"),
            "dequantizer='uniform' is not a dequantizer; known",
        ),
        (lambda: dataclasses.replace(CONFIG, dequantizer=LogitNormal(num_classes=3)), "dequantizer .* 3 labels"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
