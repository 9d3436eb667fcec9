"""SavedModels in other programs: TF Hub, Keras, fine-tuning, and loading them back into this package."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import glow_tf
from glow_tf.export.saved_model import export_saved_model
from tests import gradients, saved_models
from tests.marks import mostly_slow, slow
from tests.models.flows import moved_flow

# TF Hub works with Keras 2, as TensorFlow Probability does.
hub = pytest.importorskip("tensorflow_hub")
tf_keras = pytest.importorskip("tf_keras")

IMAGES = np.random.default_rng(0).integers(0, 256, [6, 8, 8, 3], np.uint8)


@pytest.fixture(autouse=True)
def forget_custom_gradients():
    """Frees the memory of a test before the next one."""
    with gradients.forgotten():
        yield


@pytest.fixture
def flow():
    return saved_models.flow("glow")


@pytest.fixture
def path():
    return str(saved_models.saved("glow"))


def images_of(name):
    shape = saved_models.CONFIGS[name].image_shape
    return np.random.default_rng(0).integers(0, 256, [6, *shape], np.uint8)


def weights_of(loaded):
    """The trainable weights of a loaded SavedModel, keyed by their paths in the flow."""

    def leaves(nest, prefix):
        if isinstance(nest, tf.Variable):
            return {prefix: nest} if nest.trainable else {}
        return {k: v for name in nest for k, v in leaves(nest[name], f"{prefix}/{name}").items()}

    return leaves(loaded.flow.layers, "layers")


@pytest.mark.parametrize("load", [tf.saved_model.load, slow(hub.load)])
@pytest.mark.parametrize("gradient", ["reversible", slow("stored")])
def test_the_gradient_of_the_likelihood_is_that_of_the_flow(path, tmp_path, load, gradient):
    flow = moved_flow(dataclasses.replace(saved_models.CONFIGS["glow"], gradient=gradient))
    if gradient == "stored":
        export_saved_model(flow, tmp_path / "glow")
    loaded = load(path if gradient == "reversible" else str(tmp_path / "glow"))
    variables = flow.named_variables(trainable=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(flow.bits_per_dim(IMAGES, seed=1))
    expected = dict(zip(variables, tape.gradient(loss, list(variables.values())), strict=True))
    weights = weights_of(loaded)
    assert weights.keys() == expected.keys()
    assert len(loaded.trainable_variables) == len(weights)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(loaded.log_prob(IMAGES, seed=1)["bits_per_dim"])
    for name, found in zip(weights, tape.gradient(loss, list(weights.values())), strict=True):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found, expected[name], atol=1e-5 * scale, err_msg=name)


@pytest.mark.slow
def test_a_tuned_copy_is_exported_again(path, tmp_path):
    loaded = tf.saved_model.load(path)
    before = loaded.log_prob(IMAGES)["bits_per_dim"].numpy().mean()
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(loaded.trainable_variables)

    @tf.function
    def update():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loaded.log_prob(IMAGES)["bits_per_dim"])
        optimizer.apply(tape.gradient(loss, loaded.trainable_variables), loaded.trainable_variables)

    for _ in range(5):
        update()
    tuned = loaded.log_prob(IMAGES)["bits_per_dim"].numpy()
    assert tuned.mean() < before - 0.01
    # Images come back exactly: the inverses of the 1x1 convolutions follow their weights.
    np.testing.assert_array_equal(loaded.reconstruct(IMAGES)["images"], IMAGES // 8 * 8)
    images = tf.constant(IMAGES)
    np.testing.assert_array_equal(loaded.signatures["reconstruct"](images=images)["images"], IMAGES // 8 * 8)
    tf.saved_model.save(loaded, str(tmp_path / "tuned"), signatures=loaded.signatures)
    # The tuned copy needs nothing from the directory it was made from.
    again = tf.saved_model.load(shutil.copytree(tmp_path / "tuned", tmp_path / "elsewhere"))
    assert set(again.signatures) == set(loaded.signatures)
    np.testing.assert_allclose(again.log_prob(IMAGES)["bits_per_dim"], tuned, rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(again.log_prob(IMAGES)["bits_per_dim"])
    assert all(g is not None for g in tape.gradient(loss, again.trainable_variables))
    np.testing.assert_allclose(glow_tf.load(tmp_path / "elsewhere").bits_per_dim(IMAGES, seed=0), tuned, rtol=1e-6)


@pytest.mark.slow
def test_a_keras_layer_of_tf_hub(path, flow, tmp_path):
    layer = hub.KerasLayer(path, trainable=True)
    np.testing.assert_allclose(layer(IMAGES), flow.encode(IMAGES), atol=1e-4)
    assert len(layer.trainable_weights) == len(flow.named_variables(trainable=True))
    model = tf_keras.Sequential(
        [tf_keras.layers.InputLayer(input_shape=(8, 8, 3), dtype=tf.uint8), layer, tf_keras.layers.Dense(2)]
    )
    assert model.output_shape == (None, 2)
    model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [weight.numpy() for weight in layer.trainable_weights]
    model.fit(IMAGES, np.arange(6) % 2, epochs=1, verbose=0)
    assert all(np.abs(w.numpy() - b).max() > 0 for w, b in zip(layer.trainable_weights, before, strict=True))
    tuned = layer.resolved_object
    tf.saved_model.save(tuned, str(tmp_path / "tuned"), signatures=tuned.signatures)
    np.testing.assert_allclose(hub.load(str(tmp_path / "tuned"))(IMAGES), layer(IMAGES), atol=1e-5)
    np.testing.assert_array_equal(tuned.reconstruct(IMAGES)["images"], IMAGES // 8 * 8)


@pytest.mark.parametrize("name", ["flat", slow("glow")])
def test_a_keras_layer_of_tf_hub_that_is_not_trained(name):
    path, images = str(saved_models.saved(name)), images_of(name)
    layer = hub.KerasLayer(path)
    assert not layer.trainable_weights
    frozen = hub.KerasLayer(path, signature="log_prob", output_key="bits_per_dim")
    found = frozen({"images": tf.constant(images), "seed": tf.constant(0)})
    np.testing.assert_allclose(found, saved_models.flow(name).bits_per_dim(images, seed=0), rtol=1e-5)


ENDPOINTS = ("serving_default", "encode", "features", "__call__")


@pytest.mark.parametrize(
    ("name", "endpoint"),
    mostly_slow(
        [(name, endpoint) for name in ("glow", "flat") for endpoint in ENDPOINTS],
        [("flat", "__call__")],
    ),
)
def test_a_layer_of_keras_3(name, endpoint):
    path, images = str(saved_models.saved(name)), images_of(name)
    layer = keras.layers.TFSMLayer(path, call_endpoint=endpoint)
    inputs = keras.Input(images.shape[1:], dtype="uint8")
    model = keras.Model(inputs, layer(inputs))
    found = model.predict(images, batch_size=4, verbose=0)
    loaded = tf.saved_model.load(path)
    functions = {"serving_default": loaded.log_prob, "__call__": loaded}
    expected = functions.get(endpoint, getattr(loaded, endpoint, None))(images)
    for value, wanted in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_conditional_model_is_called_with_its_labels():
    flow = saved_models.flow("conditional")
    layer = hub.KerasLayer(str(saved_models.saved("conditional")))
    labels = np.arange(6, dtype=np.int32) % 3
    found = layer({"images": tf.constant(IMAGES), "labels": tf.constant(labels)})
    np.testing.assert_allclose(found, flow.encode(IMAGES, labels), atol=1e-4)


def test_back_into_tensorflow_probability():
    path, flow, images = str(saved_models.saved("flat")), saved_models.flow("flat"), images_of("flat")
    loaded = glow_tf.load(path)
    assert loaded.config == flow.config
    distribution, expected = loaded.distribution(), flow.distribution()
    assert isinstance(distribution, tfp.distributions.TransformedDistribution)
    x = expected.sample(2, seed=(0, 1))
    np.testing.assert_allclose(distribution.sample(2, seed=(0, 1)), x, atol=1e-5)
    np.testing.assert_allclose(distribution.log_prob(x), expected.log_prob(x), rtol=1e-5)
    saved_model = tf.saved_model.load(path)
    bits = saved_model.log_prob(images, seed=2)["bits_per_dim"]
    np.testing.assert_allclose(loaded.bits_per_dim(images, seed=2), bits, rtol=1e-6)


def test_a_savedmodel_of_something_else(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(ValueError, match="not one that this package has exported"):
        glow_tf.load(tmp_path / "other")


def test_a_savedmodel_whose_weights_are_damaged(path, tmp_path):
    damaged = shutil.copytree(path, tmp_path / "damaged")
    (file,) = (tmp_path / "damaged" / "variables").glob("*.data*")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        glow_tf.load(damaged)
