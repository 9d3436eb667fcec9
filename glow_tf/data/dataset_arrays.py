"""Reads a `tf.data.Dataset` of images into memory."""

import numpy as np
import tensorflow as tf

from glow_tf.data import values
from glow_tf.data.source import DataError
from glow_tf.runtime.pipelines import untuned

_IMAGES, _LABELS = ("image", "images"), ("label", "labels")
_MOST_BYTES = 8 * 2**30


def read_dataset(dataset: tf.data.Dataset, name: str = "images") -> tuple[np.ndarray, np.ndarray | None]:
    """Reads images, and their labels if there are any.

    Args:
      dataset: dataset of uint8 images [H, W, C], of (image, label) pairs, of dictionaries with `image` and `label`,
        or of batches of these.
      name: name of the data set in error messages.

    Returns:
      Images uint8 [N, H, W, C], and labels [N] or None.

    Raises:
      DataError: if its elements are not as described, or if it is infinite, empty, or larger than 8 GiB.
    """
    spec = dataset.element_spec
    image = _parts(spec, name)[0]
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"{name} is a data set without an end: leave out .repeat(), which training does by itself.")
    if image.dtype != tf.uint8:
        some = [np.atleast_1d(_parts(element, name)[0]) for element in untuned(dataset.take(1)).as_numpy_iterator()]
        way_out = f" {values.conversion(some[0], 'image')}." if some and len(some[0]) else ""
        raise DataError(
            f"{name} has images of {image.dtype.name}; they must be uint8, from 0 for black to 255 for white.{way_out}"
        )
    if image.shape.rank not in (3, 4):
        raise DataError(
            f"{name} has images of the shape {image.shape}; it must be [H, W, C], or [B, H, W, C] in batches."
        )
    return _read(dataset, image.shape.rank == 4, name)


def _read(dataset: tf.data.Dataset, batched: bool, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    images, labels, size = [], [], 0
    for element in untuned(dataset).as_numpy_iterator():
        pixels, label = _parts(element, name)
        if not batched:
            pixels, label = pixels[np.newaxis], None if label is None else np.asarray(label)[np.newaxis]
        if images and pixels.shape[1:] != images[0].shape[1:]:
            raise DataError(
                f"{name} has images of {images[0].shape[1:]} and of {pixels.shape[1:]}; bring them to one size in its "
                "map: tf.cast(tf.image.resize(image, (64, 64)), tf.uint8)."
            )
        size += pixels.nbytes
        if size > _MOST_BYTES:
            raise DataError(
                f"{name} has more than {_MOST_BYTES / 2**30:.0f} GiB, too much to keep in memory. Save the images to a "
                "folder or a .npy file, and give its name."
            )
        images.append(pixels)
        if label is not None:
            labels.append(label)
    if not images:
        raise DataError(f"{name} is an empty data set.")
    found = np.concatenate(labels) if labels else None
    return np.concatenate(images), _texts(found)


def _parts(element, name: str):
    """Returns (image, label) of an element or an element spec; the label is None if there is none."""
    if isinstance(element, dict):
        image, label = (next((element[key] for key in keys if key in element), None) for keys in (_IMAGES, _LABELS))
        if image is None:
            raise DataError(
                f"{name} has elements of {', '.join(map(str, element))}; the images must be called 'image'."
            )
        return image, label
    if isinstance(element, tuple | list):
        if len(element) not in (1, 2):
            raise DataError(f"{name} has elements of {len(element)} parts; they must be images, or (image, label).")
        return element[0], element[1] if len(element) == 2 else None
    return element, None


def _texts(labels: np.ndarray | None) -> np.ndarray | None:
    """Decodes TensorFlow's byte strings; returns other labels unchanged."""
    if labels is None or labels.dtype.kind not in "SO":
        return labels
    return np.array([label.decode("utf-8", "replace") for label in labels.ravel().tolist()]).reshape(labels.shape)
