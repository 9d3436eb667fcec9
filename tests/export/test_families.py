"""SavedModels of Flow++, Jet and splines give what the flow gives, and its gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tests import gradients, saved_models
from tests.marks import mostly_slow

NAMES = ("flow_plus_plus", "jet", "spline")


@pytest.fixture(scope="module", params=mostly_slow(NAMES, ["spline"]))
def name(request):
    # Frees the memory of one model before the next one.
    with gradients.forgotten():
        yield request.param


@pytest.fixture(scope="module")
def loaded(name):
    return tf.saved_model.load(str(saved_models.saved(name)))


@pytest.fixture(scope="module")
def labels(name):
    """Labels of three images as further arguments; none for a model without labels."""
    return [np.arange(3, dtype=np.int32)] if saved_models.CONFIGS[name].conditional else []


def test_it_gives_what_the_flow_gives(name, loaded, labels):
    flow, config = saved_models.flow(name), saved_models.CONFIGS[name]
    images = saved_models.examples(config, 3)
    bits = flow.bits_per_dim(images, *labels, seed=7)
    np.testing.assert_allclose(loaded.log_prob(images, *labels, seed=7)["bits_per_dim"], bits, rtol=1e-5)
    latents = loaded.encode(images, *labels)["latents"]
    np.testing.assert_allclose(latents, flow.encode(images, *labels), atol=1e-4)
    np.testing.assert_array_equal(loaded.decode(latents, *labels)["images"], images)
    drawn = loaded.sample(3, 0.5, 7, *labels)["images"]
    assert drawn.dtype == tf.uint8
    # Another order of additions may move a value across the edge of a bin.
    difference = np.abs(drawn.numpy().astype(int) - flow.sample(3, 0.5, *labels, seed=7))
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.05


def test_the_gradient_of_the_likelihood_is_that_of_the_flow(name, loaded, labels):
    flow, images = saved_models.flow(name), saved_models.examples(saved_models.CONFIGS[name], 3)
    variables = {path: v for path, v in flow.named_variables(trainable=True).items() if path[:10] != "classifier"}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(flow.bits_per_dim(images, *labels, seed=1))
    expected = tape.gradient(loss, variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(loaded.log_prob(images, *labels, seed=1)["bits_per_dim"])
    found = tape.gradient(loss, {path: at(loaded.flow, path) for path in variables})
    for path, value in expected.items():
        scale = np.abs(tf.convert_to_tensor(value)).max()
        assert scale > 0, path
        np.testing.assert_allclose(tf.convert_to_tensor(found[path]), value, atol=1e-4 * scale, err_msg=path)


def test_the_logits_of_a_classifier_are_those_of_the_flow_for_any_labels(name, loaded, labels):
    flow, images = saved_models.flow(name), saved_models.examples(saved_models.CONFIGS[name], 3)
    if not flow.config.classifier:
        assert "classify" not in loaded.signatures
        return
    logits = loaded.classify(images)["logits"]
    np.testing.assert_allclose(logits, flow.class_logits(flow.encode(images, *labels), *labels), atol=1e-4)
    assert logits.shape == [3, 3] and np.ptp(logits) > 1e-2
    np.testing.assert_array_equal(loaded.signatures["classify"](images=tf.constant(images))["logits"], logits)


def at(nest, path):
    """The variable of a loaded flow at the path that the flow has for it."""
    first, *rest = path.split("/")
    nest = getattr(nest, first)
    for key in rest:
        nest = nest[key]
    return nest
