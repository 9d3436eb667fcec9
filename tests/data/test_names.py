"""Splits and orders derived from names, and lists of names."""

import pytest

from glow_tf.data.names import in_order, listed, split_of


@pytest.mark.parametrize(
    ("name", "split", "rest"),
    [
        ("train", "train", ()),
        ("TRAIN", "train", ()),
        ("Training", "train", ()),
        ("train2017", "train", ()),
        ("X_train", "train", ("x",)),
        ("trainX", "train", ("x",)),
        ("TESTSet", "test", ("set",)),
        ("DIV2K_valid_HR", "validation", ("div", "k", "hr")),
        ("held-out", "validation", ()),
        ("Unlabelled", "unlabeled", ()),
        ("trainer", None, ("trainer",)),
        ("train_test", None, ()),
        ("cats", None, ("cats",)),
        ("Züri-CH2", None, ("züri", "ch")),
    ],
)
def test_the_split_of_a_name(name, split, rest):
    assert split_of(name) == (split, rest)


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["10", "9", "1"], ("1", "9", "10")),
        (["003", "12", "1"], ("1", "003", "12")),
        (["2", "-1", "0.5"], ("-1", "0.5", "2")),
        (["10", "9", "cat"], ("10", "9", "cat")),
        (["b10", "b9"], ("b10", "b9")),
        ([], ()),
    ],
)
def test_classes_that_are_numbers_are_in_their_order(names, ordered):
    assert in_order(names) == ordered


def test_long_lists_are_cut():
    assert (listed("abc", 3), listed("abcd", 3)) == ("a, b, c", "a, b, c, ... (4 in all)")
