"""Preprocessing of each data set in the papers. The figures are from RealNVP, section 4.1, and Glow's official code."""

import pytest

from glow_tf.data import Recipe, recipe


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("cifar10", {"image_size": 32, "n_bits": 8, "flip": False, "shift": 3}),
        ("mnist", {"image_size": 32, "pad": 2, "flip": False, "shift": 3}),
        ("fashion_mnist", {"image_size": 32, "pad": 2}),
        ("svhn_cropped", {"image_size": 32, "flip": False, "shift": 0}),
        ("celeb_a", {"image_size": 64, "center_crop": 148, "flip": True, "n_bits": 8}),
        ("celeb_a_hq", {"image_size": None, "n_bits": 5, "test_size": 3000, "flip": False}),
        ("celeb_a_hq/256", {"n_bits": 5, "test_size": 3000}),
        ("imagenet_resized/64x64:0.1.0", {"image_size": None, "n_bits": 8, "flip": False}),
        ("downsampled_imagenet/32x32", {"n_bits": 8, "flip": False}),
        ("lsun/bedroom", {"image_size": 64, "crop_from": 96, "flip": False}),
        ("lsun/church_outdoor:3.1.0", {"image_size": 64, "crop_from": 96}),
        ("lsun/tower", {"image_size": 64, "crop_from": 96}),
        ("oxford_flowers102", {"image_size": 64}),
    ],
)
def test_recipes_of_the_papers(name, stated):
    found = recipe(name)
    assert {key: getattr(found, key) for key in stated} == stated
    assert found.source != Recipe().source


@pytest.mark.parametrize("name", ["people", "folder", "arrays", "lsun/cat", "no_such_data", "celeb"])
def test_every_other_data_set_is_left_as_it_is(name):
    assert recipe(name) == Recipe()
    assert (Recipe().image_size, Recipe().n_bits, Recipe().flip, Recipe().shift) == (None, 8, False, 0)
