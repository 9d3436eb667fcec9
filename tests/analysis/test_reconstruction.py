"""Reconstructions that show what each level of the latents encodes."""

import numpy as np
import pytest

from glow_tf.analysis.codec import Codec, draw_latents
from glow_tf.analysis.reconstruction import level_sizes, reconstructions, resample_finest
from tests.analysis import models
from tests.marks import mostly_slow


def test_sizes_by_hand():
    # 8x8x3 is squeezed to 4x4x12, half of which is factored out; the other half is squeezed to 2x2x24.
    assert level_sizes(models.flow()) == [4 * 4 * 6, 2 * 2 * 24]


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_the_finest_levels_are_drawn_anew_and_the_others_kept(levels):
    z = np.random.default_rng(0).normal(size=[50, 192]).astype(np.float32)
    drawn = resample_finest(models.flow(), z, levels, temperature=0.5, seed=1)
    np.testing.assert_array_equal(drawn[:, 96 * levels :], z[:, 96 * levels :])
    new = drawn[:, : 96 * levels]
    if levels:
        assert abs(new.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * new.size)
        assert abs(np.corrcoef(new.ravel(), z[:, : 96 * levels].ravel())[0, 1]) < 4 / np.sqrt(new.size)


@pytest.mark.parametrize("levels", [-1, 3])
def test_so_many_levels_there_are_not(levels):
    with pytest.raises(ValueError, match="from 0 to 2"):
        resample_finest(models.flow(), np.zeros([1, 192]), levels)


@pytest.mark.parametrize("name", mostly_slow(models.CONFIGS, ["conditional"]))
def test_original_reconstruction_and_one_column_for_each_level_but_the_top(name):
    flow, pictures, labels = models.flow(name), models.images(2, name), models.labels(2, name)
    codec = Codec(flow)
    columns = reconstructions(codec, pictures, labels=labels, temperature=0.4, seed=5)
    assert columns.shape == (2, 3, *flow.config.image_shape)
    np.testing.assert_array_equal(columns[:, 0], pictures)
    np.testing.assert_array_equal(columns[:, 1], models.quantized(pictures, flow.config.n_bits))
    z, new, finest = codec.encode(pictures, labels), draw_latents(flow, 2, seed=5), level_sizes(flow)[0]
    resampled = np.concatenate([np.float32(0.4) * new[:, :finest], z[:, finest:]], axis=1)
    np.testing.assert_array_equal(columns[:, 2], codec.decode(resampled, labels))
    assert np.any(columns[:, 2] != columns[:, 1])
