"""Random crops, shifts and flips, whose draws depend only on the key and each image's position."""

import numpy as np
import pytest

from glow_tf.data.augment import augment


def numbered(count, height, width, channels=3):
    """Returns identical images, in which every pixel has a different value."""
    image = np.arange(height * width, dtype=np.uint8).reshape(height, width, 1) * np.ones(channels, np.uint8)
    return np.broadcast_to(image, (count, height, width, channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_come_from_everywhere_and_are_whole(channels):
    images = numbered(400, 8, 9, channels)
    cut = augment(images, np.arange(400), 7, (6, 5), flip=False, shift=0)
    corners = {(int(c[0, 0, 0]) // 9, int(c[0, 0, 0]) % 9) for c in cut}
    assert corners == {(top, left) for top in range(3) for left in range(5)}
    for image in cut:
        top, left = divmod(int(image[0, 0, 0]), 9)
        np.testing.assert_array_equal(image, images[0, top : top + 6, left : left + 5])


def test_all_three_at_once():
    """A crop, a shift that repeats the edge, then a flip: each result is found among all possible ones."""
    images = numbered(300, 7, 7)
    made = augment(images, np.arange(300), 3, (5, 5), flip=True, shift=1)
    possible = {}
    for top in range(3):
        for left in range(3):
            padded = np.pad(images[0, top : top + 5, left : left + 5], [(1, 1), (1, 1), (0, 0)], mode="edge")
            for down in range(3):
                for right in range(3):
                    moved = padded[down : down + 5, right : right + 5]
                    possible[moved.tobytes()] = False
                    possible[moved[:, ::-1].tobytes()] = True
    mirrored = [possible[image.tobytes()] for image in made]
    # Binomial(300, 1/2): five standard deviations.
    assert 106 < sum(mirrored) < 194


def test_an_image_s_draws_do_not_depend_on_its_batch():
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    whole = augment(images, np.arange(100, 140), 5, (6, 6), flip=True, shift=2)
    for size in (1, 7):
        parts = [
            augment(images[i : i + size], np.arange(100 + i, min(100 + i + size, 140)), 5, (6, 6), flip=True, shift=2)
            for i in range(0, 40, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_keys_and_positions_give_unrelated_draws():
    """Neither neighbouring keys nor neighbouring positions repeat each other's crops."""
    images = numbered(500, 15, 15)

    def corners(key, first=0):
        return augment(images, np.arange(first, first + 500), key, (8, 8), flip=False, shift=0)[:, 0, 0, 0].astype(int)

    base = corners(0)
    for other in (corners(1), corners(-1), corners(5), corners(0, first=1), corners(2**64 - 1)):
        # By chance 1 in 64 is the same: 8 +- 3 of 500.
        assert np.mean(base == other) < 0.06
    np.testing.assert_array_equal(base[1:], corners(0, first=1)[:-1])


def test_a_position_far_on_is_as_good_as_any():
    images = numbered(200, 9, 9)
    cut = augment(images, np.arange(2**62, 2**62 + 200), 1, (8, 8), flip=False, shift=0)
    assert len(np.unique(cut[:, 0, 0, 0])) == 4
