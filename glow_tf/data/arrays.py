"""Image arrays, in a NumPy file (`--dataset=arrays --data_dir=FILE.npz` or `FILE.npy`) or in memory."""

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

# Common image and label names without the word for the split (`x_train`, `train_images`), then NumPy's default names.
_IMAGES = frozenset(("images", "image", "imgs", "img", "x", "data", "pixels", "inputs", "samples"))
_LABELS = frozenset(("labels", "label", "y", "targets", "target", "classes", "class"))
_POSITIONAL = {"arr_0": "images", "arr_1": "labels"}


def arrays_source(options: DataOptions) -> IndexedSource:
    """Opens the images in a `.npz` or `.npy` file.

    A `.npz` file holds `images`, uint8 [N, H, W, C] or [N, H, W], and optionally `labels`, whole numbers or strings
    [N], and optionally `test_images` and `test_labels` for the test split. Other common names, such as `x_train` and
    `y_train`, also work; unused arrays are logged. A `.npy` file holds only the images. Without `test_images`, the test
    split consists of the validation images if there are any, else of the last images.

    Labels other than 0, 1, 2, ... are numbered in sorted order, which is logged; their values become the class names.

    Images are read from disk as needed. Arrays that are compressed or in Fortran order are read into memory.

    Args:
      options: `data_dir` is the file. By default, size and channels are those of the file, with transparency
        composited on white, and a tenth of the images is held out.

    Returns:
      The source.

    Raises:
      DataError: if the file is missing or its arrays are not as described.
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
    return _source(*_number(train, test, path), image_shape, stored_shape)


def arrays_in_memory(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    test_images: np.ndarray | None = None,
    test_labels: np.ndarray | None = None,
    test_fraction: float | None = None,
    test_size: int | None = None,
    num_classes: int = 0,
) -> IndexedSource:
    """Returns a source for images in memory.

    Args:
      images: uint8 [N, H, W, C] or [N, H, W]; transparency is composited on white.
      labels: whole numbers or strings [N]; None if there are none.
      test_images: images of the test split; None to hold out the last of `images`.
      test_labels: labels of `test_images`.
      test_fraction: fraction of `images` to hold out, in (0, 1); 0.1 by default. Unused with `test_images`.
      test_size: number of images to hold out instead of a fraction. Unused with `test_images`.
      num_classes: number of classes if the labels are class numbers below it; 0 to number the labels as in
        `arrays_source`.

    Raises:
      DataError: if the arrays are not as described; the message says what to do.
    """
    train = _memory_split("images", images, "labels", labels)
    if test_images is None:
        count = len(train.pixels)
        held_out = held_out_count(count, test_fraction, test_size, TEST_FRACTION, "images")
        train, test = train.part(slice(count - held_out)), train.part(slice(count - held_out, None))
    else:
        test = _memory_split("test_images", test_images, "test_labels", test_labels)
        if test.shape != train.shape:
            raise DataError(
                f"test_images are of {test.shape} (height, width, channels), and images of {train.shape}; bring them "
                "to one shape."
            )
        if (train.labels is None) != (test.labels is None):
            raise DataError("Only one of images and test_images has labels; give both or none.")
    image_shape = (*train.shape[:2], 1 if train.shape[2] == 1 else 3)
    numbered = _already_numbered(train, test, num_classes) if num_classes else _number(train, test, "The array")
    source = _source(*numbered, image_shape, image_shape)
    values.warn_if_dark(source)
    return source


def _memory_split(key, pixels, labels_key, labels):
    pixels = _as_array(key, pixels)
    shape = _check_images(key, pixels)
    if labels is not None:
        labels = _check_labels((labels_key, _as_array(labels_key, labels)), len(pixels))
    return _Split(key, pixels, shape, labels)


def _as_array(key, array):
    """Converts to an array. Raises DataError."""
    try:
        return np.asarray(array)
    except ValueError as error:
        raise DataError(f"{key} do not form an array: bring all to one size, and np.stack them.") from error


def _already_numbered(train, test, num_classes):
    """Returns the result of `_number` for labels that already are class numbers. Raises DataError."""
    for split in (train, test):
        if split.labels is None:
            continue
        if split.labels.dtype.kind == "U":
            raise DataError(f"The labels of {split.key} are texts; the model has numbers, from 0 to {num_classes - 1}.")
        if split.labels.max() >= num_classes:
            raise DataError(
                f"The labels of {split.key} go up to {split.labels.max()}; those of the model are the numbers from 0 "
                f"to {num_classes - 1}."
            )
    names = () if train.labels is None else tuple(map(str, range(num_classes)))
    return names, train, test


def _source(class_names, train, test, image_shape, stored_shape):
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
    """Returns a reader for the examples in arrays.

    Args:
      pixels: uint8 [N, h, w, c] or [N, h, w], in memory or in a file; never copied as a whole.
      labels: integers [N], or None for label 0.
      image_shape: (H, W, C) to convert each image to.

    Returns:
      A function that maps an index to (image uint8 [H, W, C], label).
    """

    def read(index):
        image = pixels[index]
        label = 0 if labels is None else int(labels[index])
        return image_tools.fit_pixels(image if image.ndim == 3 else image[..., np.newaxis], image_shape), label

    return read


@dataclasses.dataclass(frozen=True, eq=False)
class _Split:
    """Images and labels of one split.

    Attributes:
      key: name of the image array.
      pixels: uint8 [N, H, W, C] or [N, H, W].
      shape: (H, W, C).
      labels: integers or strings [N]; None if there are none.
    """

    key: str
    pixels: np.ndarray | Rows
    shape: tuple[int, int, int]
    labels: np.ndarray | None

    def part(self, rows: slice) -> "_Split":
        """Returns a split with the given rows only."""
        labels = None if self.labels is None else self.labels[rows]
        return dataclasses.replace(self, pixels=self.pixels[rows], labels=labels)


def _check_path(data_dir):
    """Returns `data_dir` if it is a file, else raises DataError."""
    if not data_dir:
        raise DataError("dataset=arrays needs a .npz or .npy file: set --data_dir to it.")
    if not os.path.isfile(data_dir):
        kind = "a folder, not a file" if os.path.isdir(data_dir) else "not a file"
        raise DataError(f"--data_dir={data_dir} is {kind}; set it to a .npz or .npy file.")
    return data_dir


def _splits(arrays, path, options):
    """Returns the train and test splits for the result of `_load`. Raises DataError."""
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
    """Maps those of "images", "labels", "test_images", "test_labels" that are present to (name in the file, array)."""
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
    """Maps those of "images", "labels", "test_images", "test_labels" that are present to their names in the file."""
    found = {}
    for name in names:
        found.setdefault(_meaning(name), []).append(name)
    test = next((split for split in ("test", "validation") if (split, "images") in found), "test")
    keys = {}
    for prefix, split in (("", "train"), ("test_", test)):
        for what in ("images", "labels"):
            key, same = f"{prefix}{what}", found.get((split, what), [])
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
    """Parses an array name into (split, "images" or "labels"); returns None if it denotes neither."""
    if name in _POSITIONAL:
        return "train", _POSITIONAL[name]
    split, rest = name_tools.split_of(name)
    if not (split or rest) or not _IMAGES | _LABELS >= set(rest):
        return None
    return split or "train", "images" if _IMAGES >= set(rest) else "labels"


def _check_images(key, pixels, path=None):
    """Checks an image array, from the file `path` if given, and returns the image shape (H, W, C). Raises DataError."""
    called = f"{key} in {path}" if path else key
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4):
        raise DataError(
            f"{called} have shape {tuple(pixels.shape)}, that of a single image [H, W, C]. Give them the axes "
            f"[N, H, W, C]: np.stack(images), or {key}[..., None] if they are grey and {pixels.shape[2]} pixels wide."
        )
    shape = (*pixels.shape, 1) if pixels.ndim == 3 else tuple(pixels.shape)
    if len(shape) != 4 or shape[3] not in (1, 3, 4) or 0 in shape:
        raise DataError(
            f"{called} have shape {tuple(pixels.shape)}; it must be [N, H, W, C] with 1, 3 or 4 channels "
            "last, or [N, H, W]. Channels first: transpose with (0, 2, 3, 1)."
        )
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{called} are {pixels.dtype}; they must be uint8, from 0 for black to 255 for white. "
            f"{values.conversion(pixels, key)}."
        )
    return shape[1:]


def _check_labels(found, count, path=None):
    """Checks labels and returns them as int64 [N] or strings [N]; None for None. Raises DataError."""
    if found is None:
        return None
    key, labels = found
    called = f"{key} in {path}" if path else key
    if labels.shape not in ((count,), (count, 1)):
        one_hot = f" One-hot: np.argmax({key}, axis=1)." if labels.ndim == 2 else ""
        raise DataError(
            f"{called} have shape {labels.shape}; for {count} images it must be "
            f"({count},), a whole number or a text for each.{one_hot}"
        )
    labels = in_memory(labels).reshape(count)
    if labels.dtype.kind in "OT":
        # A column of pandas, or NumPy's `StringDType`.
        found = labels.tolist()
        other = next((index for index, label in enumerate(found) if not isinstance(label, str)), None)
        if other is not None:
            raise DataError(
                f"{called} are {labels.dtype}, and label {other} is {found[other]!r}; they must all be texts, or whole "
                f"numbers: {key}.astype(str), or {key}.astype(int)."
            )
        labels = np.array(found, str)
    if labels.dtype.kind == "U":
        try:
            texts(labels)
        except ValueError as error:
            raise DataError(f"{called} hold invalid text: {error}.") from error
        return labels
    if labels.dtype.kind not in "iufb":
        raise DataError(f"{called} are {labels.dtype}; they must be whole numbers or texts.")
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    whole = np.isfinite(labels) & (labels == np.floor(labels)) & (labels >= 0) & (labels < 2**63)
    if not whole.all():
        index = int(np.flatnonzero(~whole)[0])
        raise DataError(
            f"{called} must be whole numbers from 0; label {index} is {labels[index]}. "
            "Number the classes 0, 1, 2, ..., or leave the labels out."
        )
    return labels.astype(np.int64)


def _number(train, test, path):
    """Returns the class names, and both splits with class numbers as labels, int32 [N]. Raises DataError."""
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
