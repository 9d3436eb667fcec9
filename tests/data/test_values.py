"""Images that are black because they were not scaled."""

import numpy as np
import pytest
from PIL import Image

from glow_tf.data import load_source


def save(tmp_path, kind, pixels):
    if kind == "arrays":
        np.save(tmp_path / "x.npy", pixels)
        return {"name": "arrays", "data_dir": str(tmp_path / "x.npy")}
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    return {"name": "folder", "data_dir": str(tmp_path), "image_size": 4}


@pytest.mark.parametrize("kind", ["arrays", "folder"])
@pytest.mark.parametrize(("most", "factor"), [(1, 255), (15, 17), (16, 15)])
def test_images_that_are_all_but_black_are_noticed(tmp_path, caplog, kind, most, factor):
    pixels = np.random.default_rng(0).integers(0, most + 1, [60, 4, 4, 3], np.uint8)
    load_source(**save(tmp_path, kind, pixels))
    (record,) = caplog.records
    assert f"If {most} stands for white, multiply all by {factor}." in record.getMessage()


@pytest.mark.parametrize("kind", ["arrays", "folder"])
def test_others_are_not(tmp_path, caplog, kind):
    """A single bright image is enough; here a third of them are bright."""
    pixels = np.zeros([60, 4, 4, 3], np.uint8)
    pixels[::3] = 120
    load_source(**save(tmp_path, kind, pixels))
    assert not caplog.records
