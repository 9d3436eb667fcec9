"""Images in a NumPy file: `--dataset=arrays --data_dir=FILE.npz` or `FILE.npy`."""

import dataclasses
import logging
import os

import numpy as np

from glow_tf.data import images as image_tools
from glow_tf.data import names as name_tools
from glow_tf.data import values
from glow_tf.data.array_file import Rows, array_names, in_memory, open_arrays, texts
from glow_tf.data.indexed import IndexedSource, Reader
from glow_tf.data.options import DataOptions
from glow_tf.data.source import DataError, held_out_count

TEST_FRACTION = 0.1
_log = logging.getLogger(__name__)

# Common names of images and labels, apart from the word for the split: `x_train`, `train_images`, `arr_0`.
_IMAGES = frozenset(("images", "image", "imgs", "img", "x", "data", "pixels", "inputs", "samples"))
_LABELS = frozenset(("labels", "label", "y", "targets", "target", "classes", "class"))
_POSITIONAL = {"arr_0": "images", "arr_1": "labels"}


def arrays_source(options: DataOptions) -> IndexedSource:
    """Opens the images in a `.npz` or `.npy` file.

    A `.npz` holds `images`, uint8 [N, H, W, C] or [N, H, W], and optionally `labels`, whole
    numbers or texts [N]; and optionally `test_images` and `test_labels` for the test split. Other
    usual names also work, such as `x_train` and `y_train`; unused arrays are logged. A `.npy` holds
    only the images. Without `test_images`, the validation images are the test split, else the last
    images.

    Labels other than 0, 1, 2, ... are numbered in their order, which is logged; their values are
    the names of the classes.

    Images are read from disk as needed. A compressed file, or one in Fortran order, is read into
    memory.

    Args:
        options: `data_dir` is the file. By default, size and channels are those of the file,
            transparency being put on white, and a tenth is held out.

    Returns:
        The source.

    Raises:
        DataError: if the file is missing or does not hold such arrays.
    """
    path = _check_path(options.data_dir)
    train, test = _splits(_load(path), path, options)
    if options.image_size is None and test.shape[:2] != train.shape[:2]:
        raise DataError(
            f"{test.key} in {path} are of another size, {test.shape[:2]}, than {train.key}, "
            f"{train.shape[:2]}; set --image_size to bring both to one size."
        )
    image_shape, stored_shape = options.shapes(train.shape[:2], 1 if train.shape[2] == 1 else 3)
    for split in (train, test):
        options.check_large_enough(f"{split.key} in {path}", split.shape[:2], stored_shape)
    class_names, train, test = _number(train, test, path)
    splits = {"train": train, "test": test}
    return IndexedSource(
        name="arrays",
        image_shape=image_shape,
        stored_shape=stored_shape,
        num_classes=len(class_names),
        class_names=class_names,
        sizes={name: len(split.pixels) for name, split in splits.items()},
        readers={name: array_reader(split.pixels, split.labels, stored_shape) for name, split in splits.items()},
        labels={name: split.labels for name, split in splits.items() if split.labels is not None},
    )


def array_reader(pixels: np.ndarray | Rows, labels: np.ndarray | None, image_shape: tuple[int, int, int]) -> Reader:
    """Returns a reader of the examples in arrays.

    Args:
        pixels: uint8 [N, h, w, c] or [N, h, w], in memory or in a file; never copied as a whole.
        labels: integers [N], or None for label 0.
        image_shape: (H, W, C) to bring each image to.

    Returns:
        Function from an index to (image uint8 [H, W, C], label).
    """

    def read(index):
        image = pixels[index]
        label = 0 if labels is None else int(labels[index])
        return image_tools.fit_pixels(image if image.ndim == 3 else image[..., np.newaxis], image_shape), label

    return read


@dataclasses.dataclass(frozen=True, eq=False)
class _Split:
    """A split of the images in a file.

    Attributes:
        key: name of the array of images.
        pixels: uint8 [N, H, W, C] or [N, H, W].
        shape: (H, W, C).
        labels: integers or texts [N]; None without labels.
    """

    key: str
    pixels: np.ndarray | Rows
    shape: tuple[int, int, int]
    labels: np.ndarray | None

    def part(self, rows: slice) -> "_Split":
        """Returns the split of some of the images."""
        labels = None if self.labels is None else self.labels[rows]
        return dataclasses.replace(self, pixels=self.pixels[rows], labels=labels)


def _check_path(data_dir):
    """Returns the file. Raises DataError."""
    if not data_dir:
        raise DataError("dataset=arrays needs a .npz or .npy file: set --data_dir to it.")
    if not os.path.isfile(data_dir):
        kind = "a folder, not a file" if os.path.isdir(data_dir) else "not a file"
        raise DataError(f"--data_dir={data_dir} is {kind}; set it to a .npz or .npy file.")
    return data_dir


def _splits(arrays, path, options):
    """Returns the train and the test split of what `_load` returns. Raises DataError."""
    images = _split(arrays, "", path)
    if "test_images" not in arrays:
        count = len(images.pixels)
        held_out = held_out_count(count, options.test_fraction, options.test_size, TEST_FRACTION, path)
        return images.part(slice(count - held_out)), images.part(slice(count - held_out, None))
    options.check_nothing_held_out(path)
    test = _split(arrays, "test_", path)
    if (images.labels is None) != (test.labels is None):
        raise DataError(
            f"{path} has only one of labels and test_labels, for {images.key} and {test.key}; give both or none."
        )
    return images, test


def _split(arrays, prefix, path):
    """Returns the images and labels of one split. Raises DataError."""
    key, pixels = arrays[f"{prefix}images"]
    shape = _check_images(key, pixels, path)
    return _Split(key, pixels, shape, _check_labels(arrays.get(f"{prefix}labels"), len(pixels), path))


def _load(path):
    """Returns a dict from "images", "labels", "test_images", "test_labels" to (name in the file, array)."""
    names = array_names(path)
    keys = {"images": names[0]} if len(names) == 1 else _keys(path, names)
    unused = [name for name in names if name not in keys.values()]
    if unused:
        _log.warning(
            "%s: not used are %s; used are %s",
            path,
            name_tools.listed(unused),
            ", ".join(name if key == name else f"{name} as {key}" for key, name in keys.items()),
        )
    arrays = open_arrays(path, keys.values())
    return {key: (name, arrays[name]) for key, name in keys.items()}


def _keys(path, names):
    """Returns a dict from those of "images", "labels", "test_images", "test_labels" that exist to their names."""
    found = {}
    for name in names:
        found.setdefault(_meaning(name), []).append(name)
    test = next((split for split in ("test", "validation") if (split, "images") in found), "test")
    keys = {}
    for key, meaning in {
        **{what: ("train", what) for what in ("images", "labels")},
        **{f"test_{what}": (test, what) for what in ("images", "labels")},
    }.items():
        same = found.get(meaning, [])
        if len(same) > 1 and key not in same:
            raise DataError(f"{path} has {' and '.join(same)}, of which one can be the {key}; call that {key!r}.")
        if same:
            keys[key] = key if key in same else same[0]
    if "images" not in keys:
        raise DataError(
            f"{path} has no array 'images'; it has {', '.join(names) or 'no arrays'}. "
            "Save it as np.savez(file, images=..., labels=...)."
        )
    return keys


def _meaning(name):
    """Returns (split, "images" or "labels") for a name, or None if it has no such meaning."""
    if name in _POSITIONAL:
        return "train", _POSITIONAL[name]
    split, rest = name_tools.split_of(name)
    if not (split or rest) or not _IMAGES | _LABELS >= set(rest):
        return None
    return split or "train", "images" if _IMAGES >= set(rest) else "labels"


def _check_images(key, pixels, path):
    """Returns the shape of an image, (H, W, C). Raises DataError."""
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4):
        raise DataError(
            f"{key} in {path} have shape {tuple(pixels.shape)}, that of a single image [H, W, C]. Give them the axes "
            f"[N, H, W, C]: np.stack(images), or {key}[..., None] if they are grey and {pixels.shape[2]} pixels wide."
        )
    shape = (*pixels.shape, 1) if pixels.ndim == 3 else tuple(pixels.shape)
    if len(shape) != 4 or shape[3] not in (1, 3, 4) or 0 in shape:
        raise DataError(
            f"{key} in {path} have shape {tuple(pixels.shape)}; it must be [N, H, W, C] with 1, 3 or 4 channels "
            "last, or [N, H, W]. Channels first: transpose with (0, 2, 3, 1)."
        )
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{key} in {path} are {pixels.dtype}; they must be uint8, from 0 for black to 255 for white. "
            f"{values.conversion(pixels, key)}."
        )
    return shape[1:]


def _check_labels(found, count, path):
    """Returns int64 [N] or texts [N], or None for None. Raises DataError."""
    if found is None:
        return None
    key, labels = found
    if labels.shape not in ((count,), (count, 1)):
        one_hot = f" One-hot: np.argmax({key}, axis=1)." if labels.ndim == 2 else ""
        raise DataError(
            f"{key} in {path} have shape {labels.shape}; for {count} images it must be "
            f"({count},), a whole number or a text for each.{one_hot}"
        )
    labels = in_memory(labels).reshape(count)
    if labels.dtype.kind == "U":
        try:
            texts(labels)
        except ValueError as error:
            raise DataError(f"{key} in {path} hold what is no valid text: {error}.") from error
        return labels
    if labels.dtype.kind not in "iufb":
        raise DataError(f"{key} in {path} are {labels.dtype}; they must be whole numbers or texts.")
    whole = np.isfinite(labels) & (labels == np.floor(labels)) & (labels >= 0) & (labels < 2**63)
    if not whole.all():
        index = int(np.flatnonzero(~whole)[0])
        raise DataError(
            f"{key} in {path} must be whole numbers from 0; label {index} is {labels[index]}. "
            "Number the classes 0, 1, 2, ..., or leave the labels out."
        )
    return labels.astype(np.int64)


def _number(train, test, path):
    """Returns the class names, and both splits with numbers as labels, int32 [N]. Raises DataError."""
    if train.labels is None:
        return (), train, test
    if train.labels.dtype.kind != test.labels.dtype.kind:
        raise DataError(f"{path} has numbers for labels in one split and texts in the other; save both alike.")
    found = np.unique(np.concatenate([np.unique(train.labels), np.unique(test.labels)]))
    names = name_tools.in_order(map(str, found.tolist()))
    if found.dtype.kind == "U":
        found = np.array(names)
    if names != tuple(str(number) for number in range(len(names))):
        _log.warning("%s: the labels %s are numbered from 0, in this order", path, name_tools.listed(names))
    order = np.argsort(found)

    def numbered(split):
        numbers = order[np.searchsorted(found, split.labels, sorter=order)].astype(np.int32)
        return dataclasses.replace(split, labels=numbers)

    return names, numbered(train), numbered(test)
