"""Batches: position-exact, full, and what was asked for."""

import numpy as np
import pytest

from glow_tf.data import load_source, train_batches
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


def test_test_batches_are_one_pass_with_the_rest_kept(source):
    images = stored(source, "test")
    batches = take(batches_of_test(source, batch_size=3), 10)
    assert [len(batch["labels"]) for batch in batches] == [3, 1]
    np.testing.assert_array_equal(np.concatenate([b["images"] for b in batches]), images)
    assert [int(label) for b in batches for label in b["labels"]] == [6, 0, 1, 2]


def test_limit(source):
    assert sum(len(b["labels"]) for b in batches_of_test(source, 2, limit=3)) == 3
    assert sum(len(b["labels"]) for b in batches_of_test(source, 2, limit=99)) == 4


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
