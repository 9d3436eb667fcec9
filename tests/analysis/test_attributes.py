"""Directions of attributes."""

import os

import numpy as np
import pytest

from glow_tf.analysis.attributes import Directions, attribute_directions, manipulate
from glow_tf.analysis.codec import Codec
from glow_tf.data import DataError
from tests.analysis import models
from tests.marks import mostly_slow

NAMES = ("bright", "striped")
ATTRIBUTES = np.array([[1, 0], [0, 1], [1, -1], [0, 0], [1, 1], [0, -1]], np.int8)


def batches(size, name="plain"):
    pictures, labels = models.images(6, name), np.arange(6, dtype=np.int32) % 3
    for start in range(0, 6, size):
        part = slice(start, start + size)
        yield {"images": pictures[part], "labels": labels[part], "attributes": ATTRIBUTES[part]}


@pytest.fixture(scope="module")
def directions():
    return attribute_directions(Codec(models.flow()), batches(6), NAMES)


@pytest.mark.parametrize(
    ("name", "size"),
    mostly_slow(
        [(name, size) for size in (1, 4, 6) for name in models.CONFIGS],
        [("plain", 4), ("grey", 6), ("conditional", 4)],
    ),
)
def test_a_direction_is_the_difference_of_means(name, size):
    codec = Codec(models.flow(name))
    found = attribute_directions(codec, batches(size, name), NAMES)
    z = codec.encode(models.images(6, name), models.labels(6, name)).astype(np.float64)
    np.testing.assert_allclose(found["bright"], z[[0, 2, 4]].mean(0) - z[[1, 3, 5]].mean(0), atol=1e-5)
    # It is unknown for the third and the last image.
    np.testing.assert_allclose(found["striped"], z[[1, 4]].mean(0) - z[[0, 3]].mean(0), atol=1e-5)
    assert (found.positives.tolist(), found.negatives.tolist()) == ([3, 2], [3, 2])


def test_an_attribute_that_all_images_have_has_no_direction():
    everywhere = [{**batch, "attributes": np.ones([6, 1])} for batch in batches(6)]
    with pytest.raises(DataError, match=r"everywhere \(6 with, 0 without\)"):
        attribute_directions(Codec(models.flow()), everywhere, ["everywhere"])


def test_directions_are_kept_in_a_file(directions, tmp_path):
    path = tmp_path / "new" / "directions.npz"
    directions.save(path)
    again = Directions.load(path, 192)
    assert again.names == NAMES
    np.testing.assert_array_equal(again.vectors, directions.vectors)
    np.testing.assert_array_equal(again.positives, directions.positives)
    assert [file.name for file in path.parent.iterdir()] == ["directions.npz"]
    with pytest.raises(DataError, match="belongs to another model: its directions have 192 dimensions, the model 3072"):
        Directions.load(path, 3072)


def test_files_that_hold_no_directions(tmp_path):
    with pytest.raises(FileNotFoundError, match="glow attributes"):
        Directions.load(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    for name in ("text.npz", "other.npz"):
        with pytest.raises(DataError, match=f"{name} holds no directions"):
            Directions.load(tmp_path / name)


def fields(**changed):
    good = {"names": np.array(NAMES), "vectors": np.ones([2, 4]), "positives": [1, 2], "negatives": [3, 0]}
    return {**good, **changed}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_directions_of_other_programs(tmp_path, save):
    save(tmp_path / "x.npz", **fields(vectors=np.ones([2, 4], ">f8"), more=np.array([{}])))
    found = Directions.load(tmp_path / "x.npz", 4)
    assert (found.names, found.vectors.dtype, found["striped"].tolist()) == (NAMES, np.float32, [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"vectors": np.array([[1, 2], [3, np.nan]])}, "direction of 'striped' is not finite"),
        ({"vectors": np.array([[1e300, 2], [3, 4]])}, "direction of 'bright' is not finite"),
        ({"vectors": np.ones([3, 4])}, r"floats \[2, D\], not float32 \(3, 4\)"),
        ({"vectors": np.ones(4)}, r"float32 \(4,\)"),
        ({"vectors": np.ones([2, 4], complex)}, "complex128"),
        ({"vectors": np.float32(1)}, r"float32 \(\)"),
        ({"positives": [1, 2, 3]}, "positives must be 2 numbers"),
        ({"negatives": [1.5, 2]}, "negatives must be 2 numbers"),
        ({"negatives": [1, -2]}, "negatives must be 2 numbers"),
        ({"negatives": ["1", "2"]}, "negatives must be 2 numbers"),
        ({"names": np.array(["bright", "bright"])}, "names that differ"),
        ({"names": np.array("bright")}, "not a list of texts"),
        ({"names": np.array([1, 2])}, "int64"),
        ({"names": np.array(["a", "\ud800"])}, "surrogates not allowed"),
        ({"names": np.array(["a", {}])}, "Python objects"),
    ],
)
def test_directions_that_do_not_fit_are_named(tmp_path, changed, reason):
    np.savez(tmp_path / "x.npz", **fields(**changed))
    with pytest.raises(DataError, match=f"x.npz holds no directions of attributes: .*{reason}"):
        Directions.load(tmp_path / "x.npz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_holds_no_directions(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(DataError, match="x.npz holds no directions of attributes: .* not a regular file"):
        Directions.load(tmp_path / "x.npz")


def test_a_name_that_is_not_there(directions):
    with pytest.raises(ValueError, match="no attribute 'young'; there are bright, striped"):
        directions["young"]
    assert directions.only(["striped"]).names == ("striped",)
    np.testing.assert_array_equal(directions.only(["striped"]).vectors[0], directions.vectors[1])


def test_several_at_once(directions):
    moved = directions.combined({"bright": 0.5, "striped": -2})
    np.testing.assert_allclose(moved, 0.5 * directions.vectors[0] - 2 * directions.vectors[1], rtol=1e-6)


@pytest.mark.parametrize("name", mostly_slow(models.CONFIGS, ["conditional"]))
def test_moving_by_hand(name):
    codec, labels = Codec(models.flow(name)), models.labels(2, name)
    pictures = models.images(2, name)
    direction = np.random.default_rng(1).normal(0, 0.3, models.flow(name).config.dimensions).astype(np.float32)
    moved = manipulate(codec, pictures, direction, [-1, 0, 0.5], scale=1.6, labels=labels)
    assert moved.shape == (2, 3, *models.flow(name).config.image_shape)
    np.testing.assert_array_equal(moved[:, 1], models.quantized(pictures, models.flow(name).config.n_bits))
    z = codec.encode(pictures, labels)
    np.testing.assert_array_equal(moved[:, 2], codec.decode(z + np.float32(0.8) * direction, labels))
    assert np.any(moved[:, 0] != moved[:, 2])
