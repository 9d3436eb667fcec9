"""Options that do not apply to a data set, which would otherwise be ignored silently."""

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import DataError, load_source


def arrays_with_test_images(path):
    images = np.full([4, 8, 8, 3], 200, np.uint8)
    np.savez(path / "x.npz", x_train=images, x_test=images)
    return {"name": "arrays", "data_dir": str(path / "x.npz")}


def folder_with_splits(path):
    for split in ("train", "test"):
        (path / split).mkdir()
        for i in range(2):
            Image.fromarray(np.full([8, 8, 3], 200, np.uint8)).save(path / split / f"{i}.png")
    return {"name": "folder", "data_dir": str(path), "image_size": 8}


def people(path):
    return {"name": "people"}


@pytest.mark.parametrize("data", [arrays_with_test_images, folder_with_splits, people])
def test_nothing_can_be_held_out_of_data_with_a_test_split(tmp_path, data):
    arguments = data(tmp_path)
    assert load_source(**arguments).sizes["test"] > 0
    with pytest.raises(DataError, match=r"test split of its own; leave out test_fraction=0\.25"):
        load_source(**arguments, test_fraction=0.25)


@pytest.mark.parametrize("data", [arrays_with_test_images, people])
def test_nor_a_number_of_images(tmp_path, data):
    with pytest.raises(DataError, match=r"test split of its own; leave out test_size=3"):
        load_source(**data(tmp_path), test_size=3)


def test_a_share_and_a_number_exclude_each_other(tmp_path):
    np.save(tmp_path / "x.npy", np.full([8, 4, 4, 3], 200, np.uint8))
    with pytest.raises(DataError, match=r"test_fraction=0\.5 and test_size=2 .* set one of them"):
        load_source("arrays", data_dir=str(tmp_path / "x.npy"), test_fraction=0.5, test_size=2)


def test_images_of_one_size_are_enlarged_unless_that_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.full([8, 4, 6, 3], 200, np.uint8))
    arguments = {"name": "arrays", "data_dir": str(tmp_path / "x.npy")}
    assert load_source(**arguments, upscale=False).image_shape == (4, 6, 3)
    assert load_source(**arguments, image_size=4, upscale=False).image_shape == (4, 4, 3)
    for upscale in (None, True):
        images = load_source(**arguments, image_size=5, upscale=upscale).sample(2)
        np.testing.assert_array_equal(images, np.full([2, 5, 5, 3], 200))
    with pytest.raises(DataError, match=r"x\.npy: the images are 4x6, smaller than 5x5; --upscale"):
        load_source(**arguments, image_size=5, upscale=False)
    with pytest.raises(DataError, match="people: the images are 32x32, smaller than 64x64; --upscale"):
        load_source("people", image_size=64, upscale=False)


def test_the_bundled_data_has_no_folder(tmp_path):
    with pytest.raises(DataError, match="--dataset=folder"):
        load_source("people", data_dir=str(tmp_path))
