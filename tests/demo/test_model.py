"""A SavedModel with arrays as inputs and outputs, compared with the flow that was exported."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.demo.model import DemoModel
from glow_tf.export.saved_model import export_saved_model
from tests.demo.models import NAMES, images, labels, loaded
from tests.marks import mostly_slow
from tests.models.flows import random_flow
from tests.saved_models import ATTRIBUTES, CONFIGS, directions, flow, saved, shared

every_model = pytest.mark.parametrize("name", mostly_slow(NAMES, ["glow", "conditional"]))


def assert_same_pictures(found, expected, n_bits):
    """Compares pictures with levels spread over 0 to 255; another order of additions may move a value by a bin."""
    levels = np.asarray(expected).astype(int) // 2 ** (8 - n_bits)
    difference = np.abs(found.astype(int) - np.round(255 / (2**n_bits - 1) * levels).astype(int))
    assert found.dtype == np.uint8
    assert difference.max(initial=0) <= 2 ** (8 - n_bits) + 1
    assert np.mean(difference > 0) < 0.01


@every_model
def test_it_knows_what_it_is(name):
    model, config = loaded(name), flow(name).config
    assert model.image_shape == config.image_shape
    assert model.dimensions == config.dimensions
    assert model.n_bits == config.n_bits
    assert model.num_classes == (3 if name == "conditional" else 0)
    names = ATTRIBUTES.get(name, ())
    assert model.names == names
    assert model.directions.shape == (len(names), config.dimensions)
    if model.names:
        np.testing.assert_array_equal(model.directions, directions(name).vectors)
    else:
        assert model.strongest(12) == []


@every_model
@pytest.mark.parametrize("count", [1, 3])
def test_it_finds_what_the_flow_finds(name, count):
    model, reference, classes = loaded(name), flow(name), labels(count, name)
    pictures, bits = images(count, name), reference.config.n_bits
    latents = model.encode(pictures, classes)
    np.testing.assert_allclose(latents, reference.encode(pictures, classes), atol=1e-4)
    assert_same_pictures(model.decode(latents / 2, classes), reference.decode(latents / 2, classes), bits)
    assert_same_pictures(model.reconstruct(pictures, classes), reference.decode(latents, classes), bits)
    # The dequantization noise differs.
    np.testing.assert_allclose(
        model.bits_per_dim(pictures, classes), reference.bits_per_dim(pictures, classes, seed=7), rtol=0.05
    )


@every_model
def test_samples_are_those_of_the_flow(name):
    model, reference = loaded(name), flow(name)
    for temperature in (0.0, 0.7):
        expected = reference.sample(4, temperature, labels(4, name), seed=9)
        assert_same_pictures(model.sample(4, temperature, 9), expected, reference.config.n_bits)


@pytest.mark.slow
def test_a_flow_of_float64():
    config = CONFIGS["nice"]
    reference = random_flow(config, tf.float64)
    model = DemoModel(shared("float64", lambda path: export_saved_model(reference, path)))
    pictures = np.random.default_rng(0).integers(0, 256, [2, *config.image_shape], np.uint8)
    latents = model.encode(pictures)
    np.testing.assert_allclose(latents, reference.encode(pictures), rtol=1e-10)
    np.testing.assert_array_equal(model.decode(latents), pictures)
    expected = reference.sample(2, 0.7, seed=9)
    assert_same_pictures(model.sample(2, 0.7, 9), expected, config.n_bits)


def test_samples_of_one_class():
    model, reference = loaded("conditional"), flow("conditional")
    assert_same_pictures(model.sample(4, 0.7, 9, 2), reference.sample(4, 0.7, np.full([4], 2), seed=9), 8)
    np.testing.assert_array_equal(model.sample_labels(5), [0, 1, 2, 0, 1])
    assert loaded("glow").sample_labels(5) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_way_is_that_of_the_saved_model(name):
    model, (start, end) = loaded(name), images(2, name)
    ends = (0, 2) if model.num_classes else None
    inputs = {"labels": tf.constant([0]), "end_labels": tf.constant([2])} if ends else {}
    interpolate = tf.saved_model.load(str(saved(name))).signatures["interpolate"]
    expected = interpolate(start=tf.constant(start[None]), end=tf.constant(end[None]), steps=tf.constant(4), **inputs)
    a, b = model.encode(np.stack([start, end]), ends)
    found = model.blend(a, b, np.linspace(0, 1, 5), ends)
    assert_same_pictures(found, expected["images"][0], model.n_bits)


def test_the_strongest_attributes_keep_their_order():
    model = loaded("glow")
    assert [model.names[row] for row in model.strongest(2)] == ["Smiling", "größe"]
    assert model.strongest(12) == [0, 1, 2, 3]


def test_a_conditional_model_wants_labels():
    with pytest.raises(ValueError, match="conditional: images need labels"):
        loaded("conditional").encode(images(1, "conditional"))


def test_no_saved_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no SavedModel: glow export writes one"):
        DemoModel(tmp_path / "nowhere")


def test_the_folder_above(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no SavedModel; .*1 does"):
        DemoModel(saved("glow").parent)


def test_the_newest_version_in_the_folder_above(tmp_path):
    for version in (1, 2, 10, 9, 11):
        (tmp_path / str(version)).mkdir()
        (tmp_path / str(version) / "saved_model.pb").touch()
    with pytest.raises(FileNotFoundError, match="holds no SavedModel; .*/11 does"):
        DemoModel(tmp_path)


def test_a_saved_model_of_others(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ValueError, match="not one that this package has exported"):
        DemoModel(tmp_path)


def test_a_damaged_saved_model(tmp_path):
    shutil.copytree(saved("glow"), tmp_path / "model")
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot be read"):
        DemoModel(tmp_path / "model")


def test_flat_vectors_have_no_picture():
    with pytest.raises(ValueError, match="flat vectors, which have no picture"):
        DemoModel(saved("flat"))


def test_real_numbers_have_no_picture():
    with pytest.raises(ValueError, match="is a glow of images 8x4x1, real numbers, .*; the page shows images of uint8"):
        DemoModel(saved("real"))
