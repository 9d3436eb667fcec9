"""Batches: exact when resumed, full, and augmented as requested."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.data import DataError, load_source, pipeline_rate, rate, split_batches, train_batches
from glow_tf.data import test_batches as batches_of_test


@pytest.fixture
def source(tmp_path):
    """Twenty train images and four test images, no two alike and none symmetric."""
    images = np.random.default_rng(1).integers(0, 256, (24, 4, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(24) % 7)
    return load_source("arrays", data_dir=str(tmp_path / "x.npz"), test_size=4)


def take(batches, count):
    return [{key: value.numpy() for key, value in batch.items()} for batch in batches.take(count)]


def assert_same(one, other):
    assert len(one) == len(other) > 0
    for batch, again in zip(one, other, strict=True):
        np.testing.assert_array_equal(batch["images"], again["images"])
        np.testing.assert_array_equal(batch["labels"], again["labels"])


def stored(source, split):
    return np.stack([image.numpy() for image, _ in source.examples(split)])


def test_shapes_and_types(source):
    (batch,) = take(train_batches(source, batch_size=5, seed=0), 1)
    assert batch["images"].shape == (5, 4, 6, 3)
    assert batch["images"].dtype == np.uint8
    assert batch["labels"].shape == (5,)
    assert batch["labels"].dtype == np.int32
    spec = train_batches(source, batch_size=5, seed=0).element_spec
    assert spec["images"].shape == (5, 4, 6, 3)


@pytest.mark.parametrize(("flip", "shift"), [(False, 0), (True, 0), (True, 2)])
@pytest.mark.parametrize("start", [1, 3, 9])
def test_resuming_equals_going_on(source, start, flip, shift):
    whole = take(train_batches(source, 6, seed=7, flip=flip, shift=shift), start + 5)
    resumed = take(train_batches(source, 6, seed=7, start_step=start, flip=flip, shift=shift), 5)
    assert_same(whole[start:], resumed)


def test_training_batches_are_known_never_to_end(source):
    """Several workers would otherwise agree before each step that none has run out, and sizes would be unknown."""
    batches = train_batches(source, batch_size=6, seed=0, start_step=3, flip=True)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    assert batches.element_spec["images"].shape == (6, 4, 6, 3)


def test_iterating_again_gives_the_same_batches(source):
    batches = train_batches(source, 6, seed=7, flip=True)
    assert_same(take(batches, 5), take(batches, 5))


def test_seeds_differ(source):
    one, other = (take(train_batches(source, 20, seed=seed), 1)[0] for seed in (1, 2))
    assert not np.array_equal(one["images"], other["images"])


def test_labels_stay_with_their_images(source):
    images = stored(source, "train")
    for batch in take(train_batches(source, 5, seed=3), 8):
        for image, label in zip(batch["images"], batch["labels"], strict=True):
            (index,) = np.flatnonzero(np.all(images == image, axis=(1, 2, 3)))
            assert label == index % 7


def test_an_epoch_uses_each_image_once(source):
    batches = take(train_batches(source, 5, seed=3), 4)
    seen = np.concatenate([batch["images"] for batch in batches])
    assert len(np.unique(seen, axis=0)) == 20


def test_a_source_smaller_than_a_batch_fills_it(source):
    for batch in take(train_batches(source, 64, seed=0), 2):
        assert batch["images"].shape[0] == 64
        assert len(np.unique(batch["images"], axis=0)) == 20


def test_flips_mirror_left_and_right_half_the_time(source):
    plain = take(train_batches(source, 50, seed=5), 8)
    flipped = take(train_batches(source, 50, seed=5, flip=True), 8)
    count = 0
    for batch, other in zip(plain, flipped, strict=True):
        np.testing.assert_array_equal(batch["labels"], other["labels"])
        for image, mirrored in zip(batch["images"], other["images"], strict=True):
            if not np.array_equal(image, mirrored):
                np.testing.assert_array_equal(mirrored, image[:, ::-1])
                count += 1
    # Binomial(400, 1/2): five standard deviations.
    assert abs(count - 200) < 50


def test_another_seed_mirrors_other_images(source):
    def mirrored(seed):
        plain, flipped = (take(train_batches(source, 50, seed=seed, flip=flip), 1)[0] for flip in (False, True))
        return (plain["images"] != flipped["images"]).any(axis=(1, 2, 3)).tolist()

    assert mirrored(5) == mirrored(5) != mirrored(6)


def test_test_batches_are_one_pass_with_the_rest_kept(source):
    images = stored(source, "test")
    batches = take(batches_of_test(source, batch_size=3), 10)
    assert [len(batch["labels"]) for batch in batches] == [3, 1]
    np.testing.assert_array_equal(np.concatenate([b["images"] for b in batches]), images)
    assert [int(label) for b in batches for label in b["labels"]] == [6, 0, 1, 2]


def test_limit(source):
    assert sum(len(b["labels"]) for b in batches_of_test(source, 2, limit=3)) == 3
    assert sum(len(b["labels"]) for b in batches_of_test(source, 2, limit=99)) == 4


def test_a_limit_may_be_spaced(source):
    # The last four of 24 images, labelled 6, 0, 1, 2.
    labels = [int(label) for b in batches_of_test(source, 2, limit=2, spaced=True) for label in b["labels"]]
    assert labels == [6, 2]
    assert_same(take(batches_of_test(source, 3, limit=9, spaced=True), 9), take(batches_of_test(source, 3), 9))


@pytest.mark.parametrize("size", [0, -1, 2.0, None, True])
def test_impossible_batch_sizes_are_named(source, size):
    with pytest.raises(ValueError, match="batch_size"):
        train_batches(source, size, seed=0)
    with pytest.raises(ValueError, match="batch_size"):
        batches_of_test(source, size)


def test_other_impossible_arguments_are_named(source):
    with pytest.raises(ValueError, match="start_step"):
        train_batches(source, 2, seed=0, start_step=-1)
    with pytest.raises(ValueError, match="seed"):
        train_batches(source, 2, seed=None)
    with pytest.raises(ValueError, match="limit"):
        batches_of_test(source, 2, limit=0)
    with pytest.raises(ValueError, match="limit"):
        batches_of_test(source, 2, limit=0, spaced=True)
    for limit in (None, 2):
        with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'valid'"):
            split_batches(source, "valid", 2, limit, spaced=True)


def test_shifts_move_the_image_and_repeat_its_edge(source):
    plain = take(train_batches(source, 50, seed=5), 8)
    shifted = take(train_batches(source, 50, seed=5, shift=1), 8)
    seen = set()
    for batch, other in zip(plain, shifted, strict=True):
        for image, moved in zip(batch["images"], other["images"], strict=True):
            padded = np.pad(image, [(1, 1), (1, 1), (0, 0)], mode="edge")
            height, width = image.shape[:2]
            fits = [
                (down, right)
                for down in range(3)
                for right in range(3)
                if np.array_equal(padded[down : down + height, right : right + width], moved)
            ]
            assert fits
            seen.update(fits if len(fits) == 1 else ())
    assert len(seen) == 9


@pytest.fixture
def cropped(tmp_path):
    """Twenty train and four test images of 12x12, to be cropped to 8x8; no two crops are alike."""
    images = np.random.default_rng(2).integers(0, 256, (24, 12, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    return load_source("arrays", data_dir=str(tmp_path / "x.npz"), test_size=4, image_size=8, crop_from=12)


def where(crop, images):
    """Returns the (image, top, left) that a crop was taken from."""
    (found,) = [
        (number, top, left)
        for number, image in enumerate(images)
        for top in range(5)
        for left in range(5)
        if np.array_equal(image[top : top + 8, left : left + 8], crop)
    ]
    return found


def test_training_crops_at_random_and_evaluation_at_the_centre(cropped):
    assert cropped.image_shape == (8, 8, 3)
    train, held_out = stored(cropped, "train"), stored(cropped, "test")
    assert train.shape == (20, 12, 12, 3)
    places = {where(x, train) for batch in take(train_batches(cropped, 10, seed=1), 4) for x in batch["images"]}
    assert {number for number, _, _ in places} == set(range(20))
    assert len({place[1:] for place in places}) > 12  # Of 25, in 40 draws.
    spaced = batches_of_test(cropped, 3, limit=4, spaced=True)
    for batches in (batches_of_test(cropped, 3), batches_of_test(cropped, 3, limit=4), spaced):
        np.testing.assert_array_equal(
            np.concatenate([batch["images"] for batch in take(batches, 9)]), held_out[:, 2:10, 2:10]
        )


@pytest.mark.parametrize("start", [1, 5])
def test_resuming_equals_going_on_with_crops(cropped, start):
    whole = take(train_batches(cropped, 6, seed=7, flip=True, shift=1), start + 4)
    resumed = take(train_batches(cropped, 6, seed=7, start_step=start, flip=True, shift=1), 4)
    assert_same(whole[start:], resumed)


def test_an_epoch_s_images_are_the_same_whatever_the_batch_size(cropped):
    one, other = (
        np.concatenate([b["images"] for b in take(train_batches(cropped, size, seed=3, flip=True), 60 // size)])
        for size in (4, 15)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("crop_from", [7, 0, -1, 8.5, True])
def test_impossible_crops_are_named(tmp_path, crop_from):
    np.save(tmp_path / "x.npy", np.zeros((4, 12, 12, 3), np.uint8))
    with pytest.raises(DataError, match="crop_from=.*at least the image size, 8x8"):
        load_source("arrays", data_dir=str(tmp_path / "x.npy"), image_size=8, crop_from=crop_from)


def test_rectangles_are_cropped_from_squares():
    source = load_source("people", image_size=(16, 24), crop_from=32)
    (batch,) = take(train_batches(source, 4, seed=0), 1)
    assert batch["images"].shape == (4, 16, 24, 3)
    assert "16x24x3 cropped from 32x32" in source.describe()


def test_the_rate_is_measured_without_using_up_a_batch(source):
    batches = train_batches(source, 5, seed=0)
    (first,) = take(batches, 1)
    assert pipeline_rate(batches, seconds=0.2) > 100
    (again,) = take(batches, 1)
    assert_same([first], [again])


def test_the_rate_counts_all_but_the_first_batch(monkeypatch):
    """On a simulated clock, every batch takes a tenth of a second."""
    readings = itertools.count(5.0, 0.1)
    monkeypatch.setattr(rate.time, "perf_counter", lambda: next(readings))
    batches = tf.data.Dataset.from_tensors({"images": np.zeros((2, 1, 1, 1), np.uint8)}).repeat(12)
    assert pipeline_rate(batches, seconds=0.55) == pytest.approx(20)
    # The data ends eleven batches after the first.
    assert pipeline_rate(batches, seconds=60) == pytest.approx(20)
    assert pipeline_rate(batches.take(1), seconds=1) == 0
    with pytest.raises(ValueError, match="seconds"):
        pipeline_rate(batches, seconds=0)
