"""Arrays read from a `tf.data.Dataset` into memory."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.data import DataError, read_dataset

IMAGES = np.random.default_rng(0).integers(0, 256, [7, 4, 6, 3], np.uint8)
LABELS = np.arange(7) % 3


def slices(*parts):
    return tf.data.Dataset.from_tensor_slices(parts[0] if len(parts) == 1 else parts)


@pytest.mark.parametrize(
    "dataset",
    [
        slices(IMAGES, LABELS),
        slices(IMAGES, LABELS).batch(3),
        slices({"image": IMAGES, "label": LABELS, "id": np.arange(7)}),
        slices({"images": IMAGES, "labels": LABELS}).batch(7),
    ],
    ids=["pairs", "batches", "dictionaries", "a batch of dictionaries"],
)
def test_images_and_labels_in_their_order(dataset):
    images, labels = read_dataset(dataset)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("dataset", [slices(IMAGES), slices(IMAGES).batch(2), slices({"image": IMAGES})])
def test_images_alone(dataset):
    images, labels = read_dataset(dataset)
    np.testing.assert_array_equal(images, IMAGES)
    assert labels is None


def test_texts_are_labels_too():
    _, labels = read_dataset(slices(IMAGES[:2], np.array(["ä", "b"])))
    assert labels.tolist() == ["ä", "b"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (slices(IMAGES).repeat(), "without an end"),
        (slices(IMAGES).take(0), "empty"),
        (slices(IMAGES / np.float32(255)), r"float32.*np.round\(image \* 255\).astype\(np.uint8\)"),
        (slices(IMAGES[..., 0, 0]), r"shape \(4,\)"),
        (slices({"picture": IMAGES}), "elements of picture"),
        (slices(IMAGES, LABELS, LABELS), "3 parts"),
        (
            tf.data.Dataset.from_generator(
                lambda: (np.zeros([side, side, 3], np.uint8) for side in (4, 5)),
                output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
            ),
            r"\(4, 4, 3\) and of \(5, 5, 3\)",
        ),
    ],
)
def test_others_are_refused(dataset, message):
    with pytest.raises(DataError, match=message):
        read_dataset(dataset, "photos")
