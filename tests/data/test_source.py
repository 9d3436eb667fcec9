"""The interface of every source, and the size of the held-out split."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from glow_tf import data
from glow_tf.data.source import held_out_count


@pytest.fixture(scope="module")
def people():
    return data.load_source("people", image_size=8)


def test_import_needs_neither_tfds_nor_pillow():
    code = "import sys; sys.modules['tensorflow_datasets'] = sys.modules['PIL'] = None; import glow_tf.data"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("name", "data_dir", "title"),
    [
        ("folder", "data/v1.0", "v1.0"),
        ("folder", "data/cats/", "cats"),
        ("arrays", "data/v1.0.npz", "v1.0"),
        ("cifar10", "data", "cifar10"),
    ],
)
def test_data_of_ones_own_is_called_by_its_place(people, name, data_dir, title):
    assert dataclasses.replace(people, name=name, arguments={"name": name, "data_dir": data_dir}).title == title


def test_describe_is_one_readable_line(people):
    line = people.describe()
    assert line == "people: 8x8x3, 6 classes, 894 train + 114 test images"
    assert line in repr(people)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split": "valid"}, "valid"),
        ({"split": "train", "seed": 2**63}, "seed"),
        ({"split": "train", "seed": 1.5}, "seed"),
        ({"split": "train", "seed": 1, "start": -1}, "start"),
        ({"split": "test", "start": 3}, "seed"),
    ],
)
def test_examples_rejects_what_it_cannot_do(people, arguments, named):
    with pytest.raises(ValueError, match=named):
        people.examples(**arguments)


def test_one_pass_is_finite_and_in_the_same_order_every_time(people):
    first, again = (np.stack([image.numpy() for image, _ in people.examples("test")]) for _ in range(2))
    assert first.shape == (114, 8, 8, 3)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("count", "fraction", "size", "held_out"),
    [(100, None, None, 10), (3, None, None, 1), (2, 0.9, None, 1), (100, None, 99, 99)],
)
def test_held_out_count_leaves_something_in_both_splits(count, fraction, size, held_out):
    assert held_out_count(count, fraction, size, 0.1, "x") == held_out


@pytest.mark.parametrize(
    ("count", "fraction", "size"),
    [(1, None, None), (10, 0.0, None), (10, 1.0, None), (10, None, 10), (10, None, 0)],
)
def test_held_out_count_rejects_an_empty_split(count, fraction, size):
    with pytest.raises(data.DataError):
        held_out_count(count, fraction, size, 0.1, "x")
