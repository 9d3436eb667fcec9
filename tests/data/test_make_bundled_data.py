"""The tool that makes the bundled data, on a package of four emoji."""

import json

import numpy as np
import pytest
from PIL import Image

from tools import make_bundled_data


def emoji(name, order, group="person-role"):
    tones = [tone for tone in make_bundled_data.TONES if tone]
    return {
        "short_name": name,
        "subcategory": group,
        "sort_order": order,
        "image": f"{name}.png",
        "skin_variations": {tone: {"image": f"{name}-{tone}.png"} for tone in tones},
    }


@pytest.fixture
def package(tmp_path):
    entries = [
        emoji("male-cook", 2),
        emoji("cook", 1),
        emoji("troll", 0, "person-fantasy"),
        emoji("runner", 3, "person-activity"),
    ]
    (tmp_path / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    folder = tmp_path / "img" / "google" / "64"
    folder.mkdir(parents=True)
    for number, entry in enumerate(entries):
        for tone, name in enumerate([entry["image"], *(v["image"] for v in entry["skin_variations"].values())]):
            pixels = np.zeros((64, 64, 4), np.uint8)
            pixels[..., 0] = 255  # Transparent red; opaque, and of another colour, from row 31 on.
            pixels[31:] = (40 * tone, 30 * number, 0, 255)
            Image.fromarray(pixels).save(folder / name)
    # The dark cooks look alike.
    dark = (folder / "cook-1F3FF.png").read_bytes()
    (folder / "male-cook-1F3FF.png").write_bytes(dark)
    return tmp_path


def test_chosen_pictures_in_order_without_duplicates(package):
    arrays = make_bundled_data.build(package)
    assert arrays["names"].tolist() == ["cook"] * 6 + ["male-cook"] * 5
    assert arrays["labels"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4]
    assert arrays["gender"].tolist() == ["person"] * 6 + ["man"] * 5
    assert set(arrays["group_names"][arrays["group"]]) == {"person-role"}


def test_pictures_are_averaged_on_white(package):
    picture = make_bundled_data.build(package)["images"][0]
    assert picture.shape == (32, 32, 3)
    np.testing.assert_array_equal(picture[:15], 255)
    # Row 15 is half white, half (0, 30, 0), the first emoji in yellow.
    np.testing.assert_allclose(picture[15], [[127.5, 142.5, 127.5]] * 32, atol=1)
    np.testing.assert_array_equal(picture[16:], np.broadcast_to([0, 30, 0], (16, 32, 3)))


def test_near_duplicates_share_a_split():
    names = ["a", "b", "c", "d"]
    images = np.zeros((4, 32, 32, 3), np.uint8)
    images[1] = 4
    images[2] = 8
    images[3] = 90
    first = make_bundled_data.near_duplicates(names, np.zeros(4, int), images)
    assert first == {"a": "a", "b": "a", "c": "a", "d": "d"}
    held_out = make_bundled_data.held_out_names(first, dict.fromkeys(names, 0))
    assert held_out in ({"a", "b", "c"}, {"d"})
