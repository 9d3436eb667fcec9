"""The dequantization noise depends only on the seed and the batch number."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.data import arrays_in_memory
from glow_tf.dequantization import Uniform
from glow_tf.training.batches import TrainingBatches, dequantized
from glow_tf.training.config import TrainingConfig
from tests.training.helpers import CONFIG, random_images


def of_bits(n_bits):
    return dataclasses.replace(CONFIG, dequantizer=Uniform(n_bits=n_bits))


def noise(n_bits=5, seed=3, start_step=0, batch_size=4, count=3, images=None):
    """Returns the noise of some batches, x minus the lower edges of the bins, in bins: [count, batch, H, W, C]."""
    images = random_images(24) if images is None else images
    dataset = tf.data.Dataset.from_tensor_slices({"images": images, "labels": np.arange(len(images))})
    dataset = dataset.batch(batch_size).skip(start_step).take(count)
    result = []
    for batch in dequantized(dataset, of_bits(n_bits), seed, start_step=start_step, dtype=tf.float64):
        number = (start_step + len(result)) * batch_size
        edges = np.floor(images[number : number + batch_size] / 2 ** (8 - n_bits)) / 2.0**n_bits - 0.5
        np.testing.assert_array_equal(batch["labels"], np.arange(number, number + batch_size))
        result.append((batch["x"].numpy() - edges) * 2.0**n_bits)
    return np.stack(result)


@pytest.mark.parametrize("n_bits", [1, 5, 8])
def test_noise_stays_inside_the_bin_and_fills_it(n_bits):
    u = noise(n_bits, count=6)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.02
    assert abs(u.var() - 1 / 12) < 0.005


def test_it_depends_on_the_seed_and_the_number_of_the_batch():
    u = noise()
    assert np.abs(u[0] - u[1]).max() > 0.1
    np.testing.assert_array_equal(u, noise())
    assert np.abs(u - noise(seed=4)).max() > 0.1


def test_it_does_not_depend_on_the_images():
    np.testing.assert_allclose(noise(), noise(images=random_images(24, seed=9)), atol=1e-12)


def test_training_images_are_mirrored_and_moved_if_asked():
    (picture,) = pictures = random_images(1)
    source = arrays_in_memory(pictures, test_images=pictures)
    height, width, _ = picture.shape
    larger = np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge")
    moved = [larger[down : down + height, right : right + width] for down in range(3) for right in range(3)]
    expected = {"seed": [picture], "flip": [picture, picture[:, ::-1]], "shift": moved}
    for name, possible in expected.items():
        # Each of nine is missing from 200 with probability 6e-11.
        training = TrainingConfig(batch_size=200, **{name: 1})
        (batch,) = TrainingBatches(source, training, CONFIG).augmented(200, 0).take(1)
        assert {image.tobytes() for image in batch["images"].numpy()} == {image.tobytes() for image in possible}


def test_it_resumes_at_any_step():
    np.testing.assert_array_equal(noise(count=5)[3:], noise(start_step=3, count=2))


def test_float32_stays_inside_the_bin_at_its_upper_edge():
    images = np.full([64, 8, 8, 3], 255, np.uint8)
    dataset = tf.data.Dataset.from_tensor_slices({"images": images, "labels": np.zeros(64)}).batch(64)
    (batch,) = dequantized(dataset, of_bits(8), 0)
    assert batch["x"].dtype == tf.float32
    assert batch["x"].numpy().max() < 0.5
    np.testing.assert_array_equal(np.floor((batch["x"].numpy() + 0.5) * 256), 255)
