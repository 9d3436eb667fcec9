"""Models with labels: likelihoods and samples given a label, errors, and the classifier."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf import ModelConfig, glow, layers
from glow_tf.models.likelihood import likelihood
from tests.models.flows import CONFIGS, random_flow, random_images, random_inputs
from tests.tolerances import LOG_DET, assert_close

CONFIG = CONFIGS["glow-colour"]
CONDITIONAL = glow((4, 4, 1), K=2, L=1, width=4, num_classes=3, classifier=True)


@pytest.fixture(scope="module")
def flow():
    return random_flow(CONFIG, tf.float32)


@pytest.fixture(scope="module")
def conditional():
    return random_flow(CONDITIONAL)


def test_parts_of_a_conditional_model_need_its_labels(conditional):
    x = random_inputs(CONDITIONAL)
    log_q = tf.zeros([3], x.dtype)
    with pytest.raises(ValueError, match="labels in"):
        likelihood(conditional, x, log_q)
    with pytest.raises(ValueError, match=r"Labels must have shape \[\] or \[3\]"):
        likelihood(conditional, x, log_q, [0, 1])


def test_labels_change_the_likelihood(conditional):
    images = random_images(CONDITIONAL)
    bits = [conditional.bits_per_dim(images, labels=[label] * 3).numpy() for label in range(3)]
    assert np.abs(bits[0] - bits[1]).min() > 0 and np.abs(bits[1] - bits[2]).min() > 0
    assert_close(conditional.bits_per_dim(images, labels=[0, 1, 2]), [bits[i][i] for i in range(3)])
    assert_close(conditional.bits_per_dim(images, labels=1), bits[1])
    assert_close(conditional.bits_per_dim(images, labels=tf.constant([2, 2, 2], tf.int64)), bits[2])


def test_labels_are_checked(conditional, flow):
    images = random_images(CONDITIONAL)
    for call in (conditional.bits_per_dim, conditional.encode):
        with pytest.raises(ValueError, match=r"labels in 0 \.\. 2 are needed"):
            call(images)
        for labels in ([0, 1, 3], [-1, 0, 0]):
            with pytest.raises(ValueError, match=r"Labels must lie in 0 \.\. 2; these are \["):
                call(images, labels)
        for labels in ([0, 0.9, 2], [-0.9, 0, 0], [0, float("nan"), 2], tf.constant([0, 2**32, 1], tf.int64)):
            with pytest.raises(ValueError, match=r"Labels must lie in 0 \.\. 2"):
                call(images, labels)
        np.testing.assert_array_equal(call(images, [0.0, 1.0, 2.0]), call(images, [0, 1, 2]))
    with pytest.raises(ValueError, match="needed"):
        conditional.distribution()
    with pytest.raises(ValueError, match="num_classes=0"):
        flow.bits_per_dim(random_images(CONFIG), [0, 0, 0])
    compiled = tf.function(conditional.bits_per_dim)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Labels must lie in 0 \.\. 2"):
        compiled(images, tf.constant([0, 1, 3]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="whole numbers"):
        compiled(images, tf.constant([0, 1, 1.5]))


def test_one_label_an_image_is_needed(conditional):
    """Two labels for four images must not be repeated as a, b, a, b."""
    images = random_images(CONDITIONAL, 4)
    z = conditional.encode(images, [0, 1, 2, 0])
    for call in (
        lambda labels: conditional.bits_per_dim(images, labels),
        lambda labels: conditional.encode(images, labels),
        lambda labels: conditional.decode(z, labels),
        lambda labels: conditional.sample(4, labels=labels),
        lambda labels: conditional.class_logits(z, labels),
    ):
        for labels in ([0, 1], [2], [0, 1, 2], [0] * 8, [[0], [1], [2], [0]]):
            with pytest.raises(
                ValueError, match=r"Labels must have shape \[\] or \[4\], one for each example; these have \("
            ):
                call(labels)
        assert call(1).shape[0] == 4 and call([0, 1, 2, 0]).shape[0] == 4
    with pytest.raises(ValueError, match=r"Labels must have shape \[\] or \[4\]"):
        conditional.value_and_gradients(images, [2], seed=1)
    unknown = [tf.TensorSpec([None, 4, 4, 1], tf.uint8), tf.TensorSpec([None], tf.int32)]
    encode = tf.function(conditional.encode, input_signature=unknown)
    assert_close(encode(images, tf.constant([0, 1, 2, 0])), z)
    with pytest.raises(tf.errors.InvalidArgumentError, match="One label an image"):
        encode(images, tf.constant([0, 1]))


def test_no_images(conditional):
    images, labels = random_images(CONDITIONAL, 0), tf.zeros([0], tf.int32)
    assert conditional.bits_per_dim(images, labels).shape == (0,)
    assert conditional.encode(images, labels).shape == (0, 16)
    assert conditional.sample(0).shape == (0, 4, 4, 1)


def test_distribution_of_labels(conditional):
    labels = [2, 0, 1, 1]
    distribution = conditional.distribution(labels)
    assert distribution.batch_shape == [4] and distribution.event_shape == [4, 4, 1]
    x = tf.identity(distribution.sample(5, seed=1))
    assert x.shape == (5, 4, 4, 4, 1)
    log_prob = distribution.log_prob(x)
    assert log_prob.shape == (5, 4)
    for i, label in enumerate(labels):
        assert_close(conditional.distribution(label).log_prob(x[:, i]), log_prob[:, i], LOG_DET)
    scalar = conditional.distribution(tf.constant(1))
    assert scalar.batch_shape == [] and scalar.log_prob(x[0, 0]).shape == ()
    assert scalar.sample(2, seed=0).shape == (2, 4, 4, 1)


def test_sampling_by_label(conditional):
    labels = [0, 1, 2, 0]
    drawn = conditional.sample(4, labels=labels, seed=5).numpy()
    z = tf.stack([conditional.encode(drawn[i : i + 1], [label])[0] for i, label in enumerate(labels)])
    np.testing.assert_array_equal(conditional.decode(z, labels), drawn)
    np.testing.assert_array_equal(conditional.sample(4, seed=5), drawn)
    assert conditional.sample(4, labels=2, seed=5).shape == (4, 4, 4, 1)
    for n in (np.int64(4), tf.constant(4, tf.int64)):
        np.testing.assert_array_equal(conditional.sample(n, seed=5), drawn)
        np.testing.assert_array_equal(conditional.sample(n, labels=labels, seed=5), drawn)


def test_class_logits_do_not_depend_on_the_labels_given(conditional):
    images = random_images(CONDITIONAL, 4)
    logits = [conditional.class_logits(conditional.encode(images, y), y) for y in ([0] * 4, [0, 1, 2, 1])]
    assert logits[0].shape == (4, 3)
    assert_close(logits[0], logits[1])
    assert np.abs(logits[0][0] - logits[0][1]).max() > 0


def test_class_logits_by_hand(conditional):
    images = random_images(CONDITIONAL, 4)
    top = conditional.bijector([0] * 4).layers[:-1]
    x = conditional.centers(images)
    for layer in top:
        x = layer.forward(x)
    kernel, bias, logs = (conditional.named_variables()[f"classifier/{n}"].numpy() for n in ("kernel", "bias", "logs"))
    expected = (x.numpy().mean((1, 2)) @ kernel + bias) * np.exp(3 * logs)
    assert_close(conditional.class_logits(conditional.encode(images, [0] * 4), [0] * 4), expected)


def test_class_logits_take_latents_of_any_dtype(conditional):
    z = conditional.encode(random_images(CONDITIONAL, 2), [0, 1]).numpy().astype(np.float16)
    expected = conditional.class_logits(tf.constant(z.astype(np.float64)), [0, 1])
    assert_close(conditional.class_logits(z, [0, 1]), expected)
    with pytest.raises(ValueError, match=r"Latents must have shape \[B, 16\]"):
        conditional.class_logits(z[:, 1:], [0, 1])


def test_classifier_without_conditional_prior():
    flow = random_flow(glow((4, 4, 1), K=1, L=1, width=4, num_classes=3, conditional=False, classifier=True))
    images = random_images(flow.config)
    logits = flow.class_logits(flow.encode(images))
    assert logits.shape == (3, 3)
    assert_close(flow.bits_per_dim(images, [0, 1, 2]), flow.bits_per_dim(images))
    with pytest.raises(ValueError, match="no classifier: build it with classifier=True"):
        random_flow(CONFIG).class_logits(tf.zeros([1, 96], tf.float64))


@pytest.mark.parametrize("learned", [False, True])
def test_class_logits_of_a_model_that_ends_with_a_split(learned):
    parts = (layers.Squeeze(), layers.Split(learned=learned))
    flow = random_flow(ModelConfig(name="m", image_shape=(4, 4, 1), layers=parts, num_classes=2, classifier=True))
    images = random_images(flow.config)
    # The top variables are the first two pixels of each 2x2 block.
    top = np.stack([flow.centers(images).numpy()[:, 0::2, i::2, 0].mean((1, 2)) for i in range(2)], axis=-1)
    kernel, bias, logs = (flow.named_variables()[f"classifier/{n}"].numpy() for n in ("kernel", "bias", "logs"))
    assert_close(flow.class_logits(flow.encode(images)), (top @ kernel + bias) * np.exp(3 * logs))
