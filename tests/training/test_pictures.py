"""Pictures from training a model with fewer than eight bits."""

import numpy as np
import tensorflow as tf
from PIL import Image

from glow_tf.training.config import TrainingConfig
from glow_tf.training.pictures import Pictures
from tests.analysis import models


def test_images_and_what_comes_back_are_shown_at_the_bits_of_the_model(tmp_path):
    images = models.images(2)
    images[0, 0] = 255
    pictures = Pictures(models.flow(), TrainingConfig(steps=1, samples=2), tmp_path)
    path, grid = pictures.save_reconstructions(3, tf.constant(images), None)
    with Image.open(path) as file:
        shown = np.asarray(file)[::8, ::8]
    np.testing.assert_array_equal(shown, grid[::8, ::8])
    for row in (1, 10):
        for column, image in ((1, images[0]), (10, images[1])):
            there = shown[row : row + 8, column : column + 8]
            np.testing.assert_array_equal(there, models.displayed(image, 5))


def test_samples_have_no_other_values(tmp_path):
    pictures = Pictures(models.flow(), TrainingConfig(steps=1, samples=4, temperature=3.0), tmp_path)
    _, grid = pictures.save_samples(0)
    levels = models.displayed(np.arange(256), 5)
    assert set(np.unique(grid)) <= set(levels.tolist()) and len(np.unique(grid)) > 20
