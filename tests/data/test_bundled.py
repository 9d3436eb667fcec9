"""The bundled portraits."""

import collections
import hashlib
import importlib.resources

import numpy as np
import pytest

from glow_tf.data import load_source, people_attributes


@pytest.fixture(scope="module")
def attributes():
    return people_attributes()


def pictures(split, **options):
    return np.stack([x.numpy() for x, _ in load_source("people", **options).examples(split)])


@pytest.fixture(scope="module")
def all_pictures():
    return np.concatenate([pictures("train"), pictures("test")])


def test_it_is_the_default_and_has_a_thousand_pictures():
    source = load_source()
    assert source.name == "people"
    assert source.image_shape == (32, 32, 3)
    assert sum(source.sizes.values()) >= 1000
    assert source.class_names == (
        "yellow", "light", "medium-light", "medium", "medium-dark", "dark",
    )  # fmt: skip


def test_no_picture_is_there_twice(all_pictures):
    digests = {hashlib.sha256(picture.tobytes()).digest() for picture in all_pictures}
    assert len(digests) == len(all_pictures)


def test_classes_are_balanced_in_both_splits():
    for split in ("train", "test"):
        labels = [int(label) for _, label in load_source().examples(split)]
        counts = np.bincount(labels, minlength=6)
        assert counts.min() == counts.max() > 0


def test_skin_tones_are_in_order(all_pictures):
    """The mean brightness at the centre of the pictures falls from light to dark."""
    labels = np.concatenate([people_attributes(s)["labels"] for s in ("train", "test")])
    middle = all_pictures[:, 12:20, 12:20].mean(axis=(1, 2, 3))
    means = [middle[labels == label].mean() for label in range(1, 6)]
    assert means == sorted(means, reverse=True)


def test_pictures_stand_on_white(all_pictures):
    """Most have white upper corners; a transparent background read as black would not."""
    corners = all_pictures[:, 0, [0, -1]].reshape(len(all_pictures), -1)
    assert np.mean(np.all(corners == 255, axis=1)) > 0.95


def test_held_out_pictures_are_unseen():
    """No emoji is in both splits, and no held-out picture is nearly the same as a training picture."""
    train, test = people_attributes("train"), people_attributes("test")
    assert not set(train["names"]) & set(test["names"])
    assert 0.08 < len(test["names"]) / 1008 < 0.14
    seen = pictures("train").astype(np.float32).reshape(-1, 3072)
    for picture in pictures("test").astype(np.float32).reshape(-1, 3072):
        assert np.abs(seen - picture).mean(axis=1).min() > 4


def test_attributes_follow_the_order_of_the_examples(attributes):
    for split in ("train", "test"):
        labels = [int(label) for _, label in load_source().examples(split)]
        np.testing.assert_array_equal(people_attributes(split)["labels"], labels)
    assert len(attributes["names"]) == len(attributes["gender"]) == len(attributes["group"])
    assert attributes["group"].max() + 1 == len(attributes["group_names"])


def test_every_emoji_has_each_skin_tone_once_and_one_gender(attributes):
    tones = collections.defaultdict(list)
    genders = collections.defaultdict(set)
    for name, label, gender in zip(attributes["names"], attributes["labels"], attributes["gender"], strict=True):
        tones[name].append(int(label))
        genders[name].add(str(gender))
    assert all(sorted(labels) == list(range(6)) for labels in tones.values())
    assert all(len(gender) == 1 for gender in genders.values())
    assert genders["female-pilot"] == {"woman"}
    assert genders["man_in_tuxedo"] == {"man"}
    assert genders["astronaut"] == {"person"}


@pytest.mark.parametrize("size", [16, 8])
def test_smaller_sizes_are_averages(size):
    factor = 32 // size
    whole = pictures("test").astype(float)
    means = whole.reshape(-1, size, factor, size, factor, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(pictures("test", image_size=size), means, atol=1.0)


def test_any_size_and_grey():
    assert pictures("test", image_size=(20, 24), channels=1).shape[1:] == (20, 24, 1)


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="'valid'"):
        people_attributes("valid")


def test_file_is_small_and_its_licence_beside_it():
    folder = importlib.resources.files("glow_tf.data")
    assert len(folder.joinpath("people.npz").read_bytes()) < 2.5e6
    licence = folder.joinpath("people.LICENSE.md").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "Noto Emoji" in licence
