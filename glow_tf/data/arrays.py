"""Images in a NumPy file: `--dataset=arrays --data_dir=FILE.npz` or `FILE.npy`."""

import logging
import os

import numpy as np

from glow_tf.data import images as image_tools
from glow_tf.data import names as name_tools
from glow_tf.data import values
from glow_tf.data.array_file import Rows, array_names, in_memory, open_arrays, texts
from glow_tf.data.indexed import IndexedSource, Reader
from glow_tf.data.source import DataError, held_out_count

TEST_FRACTION = 0.1
_log = logging.getLogger(__name__)

# What files of others call images and labels, beside the word for the split: `x_train`, `train_images`, `arr_0`.
_IMAGES = frozenset(("images", "image", "imgs", "img", "x", "data", "pixels", "inputs", "samples"))
_LABELS = frozenset(("labels", "label", "y", "targets", "target", "classes", "class"))
_POSITIONAL = {"arr_0": "images", "arr_1": "labels"}


def arrays_source(
    data_dir: str | None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    test_fraction: float | None = None,
    test_size: int | None = None,
    crop_from: int | None = None,
    name: str = "arrays",
) -> IndexedSource:
    """Source of the images in a `.npz` or `.npy` file.

    A `.npz` holds `images`, uint8 [N, H, W, C] or [N, H, W], and optionally `labels`, whole
    numbers or texts [N]; and optionally `test_images` and `test_labels` for the test split. Other
    usual names do too, such as `x_train` and `y_train`; arrays that are not used are logged. A
    `.npy` holds the images alone. Without `test_images`, those for validation are the test split,
    else the last images.

    Where labels are not 0, 1, 2, ... without a gap, they are numbered in their order, which is
    logged, and their values are the names of the classes.

    Images are read from disk as they are needed, except from a file that is compressed or in
    Fortran order, which is read into memory.

    Args:
        data_dir: the file.
        image_size: size to resize and crop to, H = W or (H, W); as in the file by default.
        channels: 1 or 3; as in the file by default, transparency being put on white.
        test_fraction: share to hold out, in (0, 1); 0.1 by default.
        test_size: number of images to hold out instead.
        crop_from: side to bring images to for crops of `image_size`; None for none.
        name: name of the source.

    Returns:
        The source.

    Raises:
        DataError: if the file is missing or does not hold such arrays.
    """
    if not data_dir:
        raise DataError("dataset=arrays needs a .npz or .npy file: set --data_dir to it.")
    path = data_dir
    if not os.path.isfile(path):
        kind = "a folder, not a file" if os.path.isdir(path) else "not a file"
        raise DataError(f"--data_dir={data_dir} is {kind}; set it to a .npz or .npy file.")
    arrays = _load(path)

    key, pixels = arrays["images"]
    native = _check_images(key, pixels, path)[1:]
    labels = _check_labels(arrays.get("labels"), len(pixels), path)
    if "test_images" in arrays:
        test_key, test_pixels = arrays["test_images"]
        test_native = _check_images(test_key, test_pixels, path)[1:]
        test_labels = _check_labels(arrays.get("test_labels"), len(test_pixels), path)
        if (labels is None) != (test_labels is None):
            raise DataError(
                f"{path} has only one of labels and test_labels, for {key} and {test_key}; give both or none."
            )
    else:
        train_size = len(pixels) - held_out_count(len(pixels), test_fraction, test_size, TEST_FRACTION, path)
        pixels, test_pixels, test_native = pixels[:train_size], pixels[train_size:], native
        test_labels = None if labels is None else labels[train_size:]
        labels = None if labels is None else labels[:train_size]

    size = image_tools.parse_size(image_size) or native[:2]
    image_shape = (*size, image_tools.parse_channels(channels, 1 if native[2] == 1 else 3))
    if image_size is None and test_native[:2] != native[:2]:
        raise DataError(
            f"{test_key} in {path} are of another size, {test_native[:2]}, than {key}, "
            f"{native[:2]}; set --image_size to bring both to one size."
        )
    stored_shape = image_tools.stored_shape(image_shape, crop_from)
    class_names = ()
    if labels is not None:
        class_names, labels, test_labels = _number(labels, test_labels, path)
    return IndexedSource(
        name=name,
        image_shape=image_shape,
        stored_shape=stored_shape,
        num_classes=len(class_names),
        class_names=class_names,
        sizes={"train": len(pixels), "test": len(test_pixels)},
        readers={
            "train": array_reader(pixels, labels, stored_shape),
            "test": array_reader(test_pixels, test_labels, stored_shape),
        },
        labels={} if labels is None else {"train": labels, "test": test_labels},
    )


def array_reader(pixels: np.ndarray | Rows, labels: np.ndarray | None, image_shape: tuple[int, int, int]) -> Reader:
    """Reads examples out of arrays.

    Args:
        pixels: uint8 [N, h, w, c] or [N, h, w], in memory or in a file; never copied whole.
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


def _load(path):
    """Returns dict from "images", "labels", "test_images", "test_labels" to (its name in the file, array)."""
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
    """Returns dict from "images", "labels", "test_images", "test_labels", as far as they are there, to their names."""
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
    """Returns (split, "images" or "labels"), or None."""
    if name in _POSITIONAL:
        return "train", _POSITIONAL[name]
    split, rest = name_tools.split_of(name)
    if not (split or rest) or not _IMAGES | _LABELS >= set(rest):
        return None
    return split or "train", "images" if _IMAGES >= set(rest) else "labels"


def _check_images(key, pixels, path):
    """Returns its shape, [N, H, W, C]. Raises DataError."""
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
    return shape


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


def _number(labels, test_labels, path):
    """Returns the class names, and both labels as their numbers, int32 [N]."""
    if labels.dtype.kind != test_labels.dtype.kind:
        raise DataError(f"{path} has numbers for labels in one split and texts in the other; save both alike.")
    found = np.unique(np.concatenate([np.unique(labels), np.unique(test_labels)]))
    names = name_tools.in_order(map(str, found.tolist()))
    if found.dtype.kind == "U":
        found = np.array(names)
    if names != tuple(str(number) for number in range(len(names))):
        _log.warning("%s: the labels %s are numbered from 0, in this order", path, name_tools.listed(names))
    order = np.argsort(found)
    return names, *(order[np.searchsorted(found, of, sorter=order)].astype(np.int32) for of in (labels, test_labels))
