"""Loading of sources by name."""

import pytest

from glow_tf.data import DataError, load_source


def test_data_errors_are_value_errors():
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_empty_names(name):
    with pytest.raises(DataError, match="--dataset"):
        load_source(name)


def test_blanks_around_a_name_do_not_matter():
    assert load_source(" people ").name == "people"


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("peple", "people"),
        ("foldr", "folder"),
        ("celeb_a_hk", "celeb_a_hq"),
        ("cifar-10", "cifar10"),
        ("CIFAR10", "cifar10"),
        ("celeba_hq/256", "celeb_a_hq"),
    ],
)
def test_typos_are_answered_with_the_closest_names(typo, meant):
    with pytest.raises(DataError, match=rf"Did you mean .*\b{meant}\b"):
        load_source(typo)


def test_a_name_like_no_other_is_answered_with_what_there_is():
    with pytest.raises(DataError, match="'people'.*'folder'.*'arrays'"):
        load_source("qqqqqqqqqq")


def test_folder_takes_no_test_size(tmp_path):
    with pytest.raises(DataError, match="test_fraction"):
        load_source("folder", data_dir=str(tmp_path), image_size=8, test_size=3)
