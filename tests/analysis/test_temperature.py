"""The same noise at several temperatures."""

import numpy as np
import pytest

from glow_tf.analysis.codec import Codec, draw_latents
from glow_tf.analysis.temperature import TEMPERATURES, temperature_grid
from tests.analysis import models


@pytest.mark.parametrize("name", models.CONFIGS)
def test_a_row_is_one_latent_times_the_temperatures(name):
    flow, labels = models.flow(name), models.labels(2, name)
    grid = temperature_grid(Codec(flow), 2, [0.0, 0.5, 1.0], labels=labels, seed=7)
    assert grid.shape == (2, 3, *flow.config.image_shape) and grid.dtype == np.uint8
    noise = draw_latents(flow, 2, seed=7)
    for column, temperature in enumerate((0.0, 0.5, 1.0)):
        expected = flow.decode(temperature * noise, labels).numpy().astype(int)
        # Compilation may change the order of additions and move a value across the edge of its bin.
        assert np.abs(grid[:, column] - expected).max() <= 2 ** (8 - flow.config.n_bits)
    if labels is None:
        np.testing.assert_array_equal(grid[0, 0], grid[1, 0])


def test_the_temperatures_of_the_paper():
    assert TEMPERATURES == (0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


@pytest.mark.parametrize("temperatures", [[-0.1], [], [float("nan")]])
def test_what_is_no_temperature(temperatures):
    with pytest.raises(ValueError, match="at least 0"):
        temperature_grid(Codec(models.flow()), 1, temperatures)
