"""A flow as a layer of Keras models: training with `fit`, saving and loading."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from glow_tf import Flow, glow, keras_layer
from tests.models.flows import random_flow, random_images
from tests.tolerances import assert_close

pytestmark = pytest.mark.usefixtures("untraced")

CONFIG = glow((4, 4, 3), K=1, L=1, width=4)
CONDITIONAL = glow((4, 4, 3), K=1, L=1, width=4, num_classes=2, conditional=True)


@pytest.fixture(scope="module")
def images():
    """Images of nearly uniform colour, so that there is something to learn."""
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(128, 9, [32, 1, 1, 3]) + rng.normal(0, 5, [32, 4, 4, 3]), 0, 255).astype(np.uint8)


def test_its_variables_are_those_of_the_flow():
    flow = Flow(CONFIG)
    layer = keras_layer(flow)
    assert [v.value for v in layer.trainable_variables] == list(flow.named_variables(trainable=True).values())
    assert len(layer.variables) == len(flow.named_variables()) + 2, "and whether it is initialized, and the seed"


@pytest.mark.usefixtures("traced")
def test_fit_trains_it_and_what_is_saved_loads(images, tmp_path):
    flow = Flow(CONFIG)
    layer = keras_layer(flow)
    layer.adapt(images)
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.Adam(1e-2))
    before = model.predict(images, verbose=0)
    history = model.fit(images, batch_size=16, epochs=4, verbose=0).history["loss"]
    after = model.predict(images, verbose=0)
    assert history[-1] < history[0] and after.mean() < before.mean() - 0.05
    # The flow itself has been trained.
    assert_close(after, flow.bits_per_dim(images), 1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), after)
    assert loaded.layers[0].flow.initialized.numpy() and loaded.layers[0].flow is not flow
    loaded.fit(images, batch_size=16, verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), after)


def test_part_of_a_model_of_ones_own(images):
    class Classifier(keras.Model):
        def __init__(self, flow):
            super().__init__()
            self.flow = keras_layer(flow, output="latents", loss_weight=0)
            self.head = keras.layers.Dense(2)

        def call(self, images, training=False):
            return self.head(self.flow(images, training=training))

    flow = random_flow(CONFIG, tf.float32)
    model = Classifier(flow)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = {path: v.numpy() for path, v in flow.named_variables(trainable=True).items()}
    model.fit(images, np.arange(32) % 2, verbose=0)
    assert len(model.trainable_variables) == len(before) + 2
    moved = [path for path, v in flow.named_variables(trainable=True).items() if (v.numpy() != before[path]).any()]
    assert len(moved) == len(before)
    assert_close(model.flow(images), flow.encode(images), 1e-5)


def test_labels_and_a_loss_of_ones_own(images):
    flow = random_flow(CONDITIONAL, tf.float32)
    labels = np.arange(32, dtype=np.int32) % 2
    inputs = {"images": keras.Input([4, 4, 3], dtype="uint8"), "labels": keras.Input([], dtype="int32")}
    outputs = keras_layer(flow, output="log_prob", loss_weight=0)(inputs)
    model = keras.Model(inputs, outputs)
    model.compile("adam", loss=lambda _, log_prob: -log_prob)
    found = model.predict({"images": images, "labels": labels}, verbose=0)
    assert_close(found, flow.likelihood(images, labels).log_prob, 1e-5)
    (loss,) = model.fit({"images": images, "labels": labels}, np.zeros(32), verbose=0).history["loss"]
    assert np.isfinite(loss) and abs(loss + found.mean()) < 5


def test_images_that_are_not_of_256_levels_are_refused(images):
    layer = keras_layer(random_flow(CONFIG, tf.float32))
    assert_close(layer(images.astype(np.float32)), layer(images), 1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="whole numbers from 0 to 255"):
        layer(images / np.float32(255))
    with pytest.raises(ValueError, match=r"must have shape \[B, 4, 4, 3\]"):
        layer(random_images(CONFIG)[:, :2])
    with pytest.raises(ValueError, match="output='logprob' is not one of 'bits_per_dim', 'log_prob', 'latents'"):
        keras_layer(Flow(CONFIG), output="logprob")


@pytest.mark.parametrize("output", ["bits_per_dim", "latents"])
def test_the_loss_of_an_evaluation_is_the_mean_of_bits_per_dim(images, output):
    flow = random_flow(CONFIG, tf.float32)
    model = keras.Sequential([keras_layer(flow, output=output, loss_weight=2.0)])
    model.compile(keras.optimizers.SGD(0.0))
    assert_close(model.evaluate(images, verbose=0), 2 * np.mean(flow.bits_per_dim(images)), 1e-5)
    (loss,) = model.fit(images, validation_split=0.25, verbose=0).history["val_loss"]
    assert_close(loss, 2 * np.mean(flow.bits_per_dim(images[24:])), 1e-5)


@pytest.mark.usefixtures("traced")
def test_xla_gives_nan_for_images_that_are_not_of_256_levels(images):
    model = keras.Sequential([keras_layer(random_flow(CONFIG, tf.float32))])
    model.compile("adam", jit_compile=True)
    assert np.all(np.isfinite(model.predict(images.astype(np.float32), verbose=0)))
    assert np.all(np.isnan(model.predict(images / np.float32(255), verbose=0)))


def test_training_has_the_network_precision_of_the_runtime(images):
    flow = random_flow(CONFIG, tf.float32)
    bits = {}
    for precision in ("float32", "bfloat16"):
        flow.runtime = dataclasses.replace(flow.runtime, network_precision=precision)
        layer = keras_layer(flow)
        bits[precision] = layer(images, training=True).numpy()
        assert_close(layer(images), flow.bits_per_dim(images), 1e-6)
        again = type(layer).from_config(layer.get_config())
        assert again.flow.runtime.network_precision == precision
    difference = np.abs(bits["bfloat16"] - bits["float32"])
    assert 0 < difference.max() < 0.1


def test_its_arguments_are_used_and_saved(images, tmp_path):
    flow = random_flow(CONFIG, tf.float32)
    model = keras.Sequential([keras_layer(flow, output="latents", loss_weight=0.25, seed=7)])
    model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_close(loaded.predict(images, verbose=0), flow.encode(images), 1e-5)
    loaded.compile("adam")
    assert_close(loaded.evaluate(images, verbose=0), 0.25 * np.mean(flow.bits_per_dim(images)), 1e-5)
    # Without the state of the saved layer, which holds the next seed.
    layer = loaded.layers[0]
    again = type(layer).from_config(layer.get_config())
    for variable, value in zip(again.flow.variables, flow.variables, strict=True):
        variable.assign(value)
    first, second = (again(images, training=True).numpy() for _ in range(2))
    assert_close(first, keras_layer(flow, output="latents", seed=7)(images, training=True), 1e-5)
    assert np.abs(first - second).max() > 1e-3
