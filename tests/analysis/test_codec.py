"""Encoding and decoding of arrays."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import glow_tf
from glow_tf.analysis.codec import Codec, default_batch_size, draw_latents
from tests.analysis import models
from tests.marks import mostly_slow


@pytest.mark.parametrize(
    ("name", "count", "batch_size", "at_once"),
    mostly_slow(
        [
            (name, *sizes)
            for sizes in [(5, 2, 1), (4, 4, 1), (3, 64, 1), (1, None, 1), (4, 4, 3), (1, None, 2)]
            for name in models.CONFIGS
        ],
        [("plain", 5, 2, 1), ("grey", 3, 64, 1), ("conditional", 5, 2, 1), ("conditional", 4, 4, 3)],
    ),
)
def test_images_come_back_whatever_the_batch(name, count, batch_size, at_once):
    flow, pictures, labels = models.flow(name, shards=at_once), models.images(count, name), models.labels(count, name)
    codec = Codec(flow, batch_size)
    z = codec.encode(pictures, labels)
    assert z.shape == (count, flow.config.dimensions) and z.dtype == np.float32
    np.testing.assert_allclose(z, flow.encode(pictures, labels), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(codec.decode(z, labels), models.quantized(pictures, flow.config.n_bits))


def test_every_image_has_its_own_label():
    flow, pictures = models.flow("conditional"), np.repeat(models.images(1, "conditional"), 5, axis=0)
    z = Codec(flow, 2).encode(pictures, [0, 1, 2, 1, 0])
    np.testing.assert_allclose(z[[0, 1]], z[[4, 3]], atol=1e-6)
    assert np.abs(z[0] - z[1]).max() > 1e-3


def test_what_does_not_fit():
    codec = Codec(models.flow())
    with pytest.raises(ValueError, match="nothing to encode"):
        codec.encode(models.images(0))
    with pytest.raises(ValueError, match="3 images or latents need as many labels; there are 2"):
        Codec(models.flow("conditional")).encode(models.images(3, "conditional"), [0, 1])
    with pytest.raises(ValueError, match="192"):
        codec.decode(np.zeros([2, 191]))


def test_images_that_are_no_numbers_are_refused():
    flow = models.flow()
    z = draw_latents(flow, 5)
    z[[1, 3], 7] = np.inf
    with pytest.raises(ValueError, match="2 of 5 images are not finite numbers.*lower the temperature"):
        Codec(flow, 2).decode(z)


def test_images_that_are_no_numbers_are_told_of(caplog):
    flow = models.flow()
    z = draw_latents(flow, 5)
    z[3] = 1e30
    images = Codec(flow, 2).decode(z)
    # TensorFlow warns of frequent retracing, whichever test caused it.
    (record,) = [record for record in caplog.records if record.name.startswith("glow_tf")]
    assert "1 of 5 images are not finite numbers" in record.getMessage()
    z[3] = 0
    np.testing.assert_array_equal(np.delete(images, 3, axis=0), np.delete(Codec(flow, 2).decode(z), 3, axis=0))


def test_the_default_batch_fits_the_size():
    assert default_batch_size(models.flow().config) == 64


def test_latents_are_drawn_from_the_base():
    z = draw_latents(models.flow(), 200, seed=1)
    assert z.shape == (200, 192) and z.dtype == np.float32
    # 38,400 draws: four standard errors.
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    logistic = draw_latents(models.flow("logistic"), 2000, seed=1)
    assert abs(logistic.var() - np.pi**2 / 3) < 4 * np.sqrt(1.2 + 2) * np.pi**2 / 3 / np.sqrt(logistic.size)


@pytest.mark.parametrize(("base", "largest"), [("normal", stats.norm.isf), ("logistic", stats.logistic.isf)])
def test_the_largest_latent_is_finite(base, largest):
    config = glow_tf.ModelConfig(name="large", image_shape=(256, 256, 3), layers=(), base=base)
    # Among the first numbers of this seed is one that float32 rounds to 1.
    z = draw_latents(glow_tf.Flow(config), 1, seed=176)
    assert z.max() == pytest.approx(largest(2**-24), rel=1e-6)


def test_more_latents_leave_the_first_ones_as_they_are():
    few, many = (draw_latents(models.flow(), count, seed=4) for count in (2, 6))
    np.testing.assert_array_equal(few, many[:2])
    assert np.abs(few - draw_latents(models.flow(), 2, seed=5)).max() > 0.1


def test_latents_without_a_seed_differ_unless_that_of_tensorflow_is_set():
    tf.random.set_seed(2)
    first, second = draw_latents(models.flow(), 2), draw_latents(models.flow(), 2)
    assert np.abs(first - second).max() > 0.1
    tf.random.set_seed(2)
    np.testing.assert_array_equal(draw_latents(models.flow(), 2), first)


def test_the_weights_of_the_moment_count():
    flow = glow_tf.Flow(glow_tf.glow((8, 8, 3), K=2, L=2, width=4), seed=0)
    codec = Codec(flow, batch_size=4)
    z = draw_latents(flow, 4)
    before = codec.decode(z)
    np.testing.assert_array_equal(before, flow.decode(z))
    for path, variable in flow.named_variables().items():
        if path.endswith("conv1x1/log_diagonal"):
            variable.assign_add(tf.ones_like(variable))
    after = codec.decode(z)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, flow.decode(z))
