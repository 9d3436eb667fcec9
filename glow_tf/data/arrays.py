"""Images in a NumPy file: `--dataset=arrays --data_dir=FILE.npz` or `FILE.npy`."""

import os

import numpy as np

from glow_tf.data import images as image_tools
from glow_tf.data.array_file import Rows, open_arrays
from glow_tf.data.indexed import IndexedSource, Reader
from glow_tf.data.source import DataError, held_out_count

TEST_FRACTION = 0.1


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
    numbers [N]; and optionally `test_images` and `test_labels` for the test split. A `.npy`
    holds the images alone. Without `test_images`, the last images are the test split.

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

    pixels = arrays["images"]
    native = _check_images(pixels, f"images in {path}")[1:]
    labels = _check_labels(arrays.get("labels"), len(pixels), "labels", path)
    if "test_images" in arrays:
        test_pixels = arrays["test_images"]
        test_native = _check_images(test_pixels, f"test_images in {path}")[1:]
        test_labels = _check_labels(arrays.get("test_labels"), len(test_pixels), "test_labels", path)
        if (labels is None) != (test_labels is None):
            raise DataError(f"{path} has only one of labels and test_labels; give both or none.")
    else:
        train_size = len(pixels) - held_out_count(len(pixels), test_fraction, test_size, TEST_FRACTION, path)
        pixels, test_pixels, test_native = pixels[:train_size], pixels[train_size:], native
        test_labels = None if labels is None else labels[train_size:]
        labels = None if labels is None else labels[:train_size]

    size = image_tools.parse_size(image_size) or native[:2]
    image_shape = (*size, image_tools.parse_channels(channels, 1 if native[2] == 1 else 3))
    if image_size is None and test_native[:2] != native[:2]:
        raise DataError(
            f"test_images in {path} are of another size, {test_native[:2]}, than images, "
            f"{native[:2]}; set --image_size to bring both to one size."
        )
    stored_shape = image_tools.stored_shape(image_shape, crop_from)
    num_classes = 0 if labels is None else int(max(labels.max(), test_labels.max())) + 1
    return IndexedSource(
        name=name,
        image_shape=image_shape,
        stored_shape=stored_shape,
        num_classes=num_classes,
        class_names=tuple(str(label) for label in range(num_classes)),
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
    """Returns dict of arrays, "images" among them, the labels in memory."""
    arrays = open_arrays(path)
    if len(arrays) == 1:
        arrays = {"images": next(iter(arrays.values()))}
    if "images" not in arrays:
        raise DataError(
            f"{path} has no array 'images'; it has {', '.join(arrays) or 'no arrays'}. "
            "Save it as np.savez(file, images=..., labels=...)."
        )
    return {
        key: array.whole() if "labels" in key and isinstance(array, Rows) else array for key, array in arrays.items()
    }


def _check_images(pixels, what):
    """Returns its shape, [N, H, W, C]. Raises DataError."""
    if pixels.dtype != np.uint8:
        raise DataError(f"{what} are {pixels.dtype}; they must be uint8, 0 to 255. Scale and convert them.")
    shape = (*pixels.shape, 1) if pixels.ndim == 3 else tuple(pixels.shape)
    if len(shape) != 4 or shape[3] not in (1, 3, 4) or 0 in shape:
        raise DataError(
            f"{what} have shape {tuple(pixels.shape)}; it must be [N, H, W, C] with 1, 3 or 4 channels "
            "last, or [N, H, W]. Channels first: transpose with (0, 2, 3, 1)."
        )
    return shape


def _check_labels(labels, count, key, path):
    """Returns int32 [N], or None for None. Raises DataError."""
    if labels is None:
        return None
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise DataError(
            f"{key} in {path} have shape {labels.shape}; for {count} images it must be "
            f"({count},), a whole number for each."
        )
    if labels.dtype.kind not in "iufb":
        raise DataError(f"{key} in {path} are {labels.dtype}; they must be whole numbers.")
    whole = np.isfinite(labels) & (labels == np.floor(labels)) & (labels >= 0) & (labels < 2**31)
    if not whole.all():
        index = int(np.flatnonzero(~whole)[0])
        raise DataError(
            f"{key} in {path} must be whole numbers from 0; label {index} is {labels[index]}. "
            "Number the classes 0, 1, 2, ..., or leave the labels out."
        )
    return labels.astype(np.int32)
