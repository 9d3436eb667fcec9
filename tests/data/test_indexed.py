"""The order of random-access sources."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from glow_tf.data.indexed import IndexedSource, index_stream


def first(dataset, count):
    return [int(index) for index in dataset.take(count)]


def source(read, count):
    """A source of 1x1 images, read by `read`."""
    return IndexedSource(
        name="numbers",
        image_shape=(1, 1, 1),
        stored_shape=(1, 1, 1),
        num_classes=0,
        class_names=(),
        sizes={"train": count, "test": count},
        readers={"train": read, "test": read},
    )


def example(index):
    return np.full((1, 1, 1), index, np.uint8), 0


def test_labels_of_a_data_set_with_more_classes():
    some = dataclasses.replace(
        source(lambda index: (example(index)[0], index % 2), 5),
        num_classes=2,
        class_names=("3", "900"),
        labels={"train": [0, 1, 0, 1, 0]},
    )
    again = some.with_classes(["1", "900", "3"])
    assert (again.num_classes, again.class_names) == (3, ("1", "900", "3"))
    assert [int(label) for _, label in again.examples("train")] == again.row_labels("train").tolist() == [2, 1, 2, 1, 2]
    accented = dataclasses.replace(some, class_names=("cafe\u0301", "bar"))
    assert accented.with_classes(["a", "bar", "caf\xe9"]).row_labels("train").tolist() == [2, 1, 2, 1, 2]


def test_the_identity_is_read_from_the_images_once():
    """A run asks for it several times, and reading images can be slow."""
    read = []
    numbers = source(lambda index: read.append(index) or example(index), 3)
    assert numbers.identity() == numbers.identity() == source(example, 3).identity()
    assert sorted(read) == [0, 0, 1, 1, 2, 2]
    assert numbers.identity() != source(lambda index: example(index + 1), 3).identity()


def test_the_identity_depends_on_labels_and_on_names_but_not_on_how_accents_are_spelt():
    def identity(labels=(0, 1, 0), names=("a", "\xe9", "z")):
        labelled = {"labels": {"train": list(labels)}, "names": {"train": list(names)}}
        return dataclasses.replace(source(example, 3), **labelled).identity()

    assert identity() == identity(names=("a", "e\u0301", "z"))
    assert identity() != identity(names=("a", "e", "z"))
    assert identity() != identity(labels=(0, 1, 1))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    count=st.integers(1, 12),
    seed=st.integers(-(2**63), 2**63 - 1),
    start=st.integers(0, 40),
)
def test_stream_joined_anywhere_equals_the_uninterrupted_one(count, seed, start):
    whole = first(index_stream(count, seed, 0), start + 15)
    assert first(index_stream(count, seed, start), 15) == whole[start:]


def test_each_epoch_has_every_index_once_in_an_order_of_its_own():
    epochs = [tuple(row) for row in np.reshape(first(index_stream(50, 0, 0), 250), (5, 50))]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len(set(epochs)) == 5


def test_orders_are_uniform():
    """Each of the 6 orders of 3 indices comes up about 100 times in 600 epochs."""
    orders = np.reshape(first(index_stream(3, 5, 0), 1800), (600, 3))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    # Five standard deviations of a binomial(600, 1/6).
    assert np.all(np.abs(counts - 100) < 5 * np.sqrt(600 * 5 / 36))


def test_seeds_give_different_orders_and_the_global_seed_none():
    one = first(index_stream(30, 1, 0), 30)
    assert one != first(index_stream(30, 2, 0), 30)
    tf.random.set_seed(99)
    try:
        assert one == first(index_stream(30, 1, 0), 30)
    finally:
        tf.random.set_seed(0)


def test_joining_far_in_costs_no_more_than_an_epoch():
    assert 0 <= first(index_stream(1000, 3, 10**15 + 7), 1)[0] < 1000


def test_unreadable_examples_keep_their_places_in_the_stream():
    def read(index):
        return None if index in (2, 5) else example(index)

    def stream(start, count):
        examples = source(read, 7).examples("train", seed=4, start=start)
        return [int(image[0, 0, 0]) for image, _ in examples.take(count)]

    whole = stream(0, 21)
    assert set(whole) == {0, 1, 3, 4, 6}
    assert stream(9, 12) == whole[9:]
    order = first(index_stream(7, 4, 0), 21)
    assert [index for index in order if index not in (2, 5)] == [
        value for value, index in zip(whole, order, strict=True) if index not in (2, 5)
    ]


def test_unreadable_examples_are_left_out_of_one_pass():
    examples = source(lambda index: example(index) if index % 2 else None, 7).examples("test")
    assert [int(image[0, 0, 0]) for image, _ in examples] == [1, 3, 5]


@pytest.mark.parametrize(
    ("unreadable", "count", "expected"),
    [
        ((), 4, [0, 3, 6, 9]),
        ((), 1, [0]),
        ((), 10, list(range(10))),
        ((), 99, list(range(10))),
        # The next readable image stands in, as long as it is before the next one chosen.
        ((0, 3, 4, 9), 4, [1, 5, 6]),
        (range(9), 2, [9]),
        (range(1, 10), 2, [0]),
    ],
)
def test_evenly_spaced_examples(unreadable, count, expected):
    numbers = source(lambda index: None if index in unreadable else example(index), 10)
    batches = list(numbers.spaced_batches("test", 3, count).as_numpy_iterator())
    assert [int(image[0, 0, 0]) for images, _ in batches for image in images] == expected
    assert [len(images) for images, _ in batches[:-1]] == [3] * (len(batches) - 1)


def test_an_endless_stream_of_unreadable_examples_raises():
    stream = source(lambda index: None, 5).examples("train", seed=0)
    with pytest.raises(tf.errors.OpError, match="none of the 5 train images of numbers"):
        next(iter(stream))
