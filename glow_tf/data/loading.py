"""Loads a data set by name."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from glow_tf.data import arrays, bundled, folder
from glow_tf.data.options import DataOptions
from glow_tf.data.source import DataError, HeldOutError, Source
from glow_tf.data.values import warn_if_dark
from glow_tf.runtime import paths

# Mutually exclusive arguments of `load_source`.
HELD_OUT = ("test_fraction", "test_size")
_SOURCES = {
    bundled.NAME: bundled.people_source,
    "folder": folder.folder_source,
    "arrays": arrays.arrays_source,
}


def load_source(
    name: str = bundled.NAME,
    data_dir: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    test_fraction: float | None = None,
    test_size: int | None = None,
    crop_from: int | None = None,
    upscale: bool | None = None,
) -> Source:
    """Loads a data set by name.

    A data set from TensorFlow Datasets that the papers use is preprocessed as in the papers (size,
    crops, padding, number held out), according to its `glow_tf.data.recipe`. Arguments given here
    take precedence.

    Args:
      name: "people" (bundled), "folder" (images under `data_dir`), "arrays" (the .npz or
        .npy file `data_dir`), or an image data set from TensorFlow Datasets, with the
        config if it has several, such as "cifar10" or "imagenet_resized/32x32".
      data_dir: folder or file, as above; for TensorFlow Datasets, its data directory, or None
        for its default; not for "people".
      image_size: H = W, or (H, W), in pixels; None for that of the data set's recipe, else the
        data's own. Images are resized to match the shorter side and centre-cropped.
      channels: 1 (grey) or 3 (RGB); None for the data's own.
      test_fraction: fraction of the images to hold out as the test split, in (0, 1), only for
        data without its own test split; by default 0.1, or 0.05 for TensorFlow Datasets.
      test_size: number of images to hold out instead of a fraction; not for "folder".
      crop_from: side in pixels of the squares that images are first fitted to; training then
        takes random crops of `image_size` from them, and evaluation central crops. None for
        that of the data set's recipe, if it has one and `image_size` is the recipe's;
        `image_size` for no crops.
      upscale: whether to enlarge images that are too small. By default, those in a folder are
        left out, as enlarged images are blurred, and those in other data are enlarged; False
        makes the latter an error.

    Returns:
      The source.

    Raises:
      DataError: if the data is missing or unusable, or an argument does not apply to it; the message says what to do.

    Examples:
      >>> source = glow_tf.data.load_source("people", image_size=16)
      >>> source.image_shape, source.num_classes
      ((16, 16, 3), 6)
      >>> images, labels = next(iter(source.batches("test", 8)))
      >>> images.shape, labels.shape
      (TensorShape([8, 16, 16, 3]), TensorShape([8]))
    """
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"the data set's name is empty ({name!r}); set --dataset, e.g. people.")
    name = name.strip()
    options = DataOptions(
        data_dir=paths.local(data_dir, "--data_dir") if data_dir else None,
        image_size=image_size,
        channels=channels,
        test_fraction=test_fraction,
        test_size=test_size,
        crop_from=crop_from,
        upscale=upscale,
    )
    source = _load(name, options)
    if name in _SOURCES:
        # Not for TensorFlow Datasets, as reading them here would initialize TensorFlow's devices.
        warn_if_dark(source)
    if options.data_dir:
        # Recorded with the model, which may be used from another working directory.
        options = dataclasses.replace(options, data_dir=os.path.abspath(options.data_dir))
    given = {key: value for key, value in dataclasses.asdict(options).items() if value is not None}
    return dataclasses.replace(source, arguments={"name": name, **given})


def load_recorded(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> Source:
    """Loads data by the recorded arguments of `load_source`, or data in its place; given arguments take precedence.

    A recorded share or number to hold out is dropped if another is given or it does not fit the data, which may be
    other data than was recorded, or recorded by a version that ignored it.
    """
    others = {argument: value for argument, value in recorded.items() if argument not in HELD_OUT}
    if not given.keys() & set(HELD_OUT):
        with contextlib.suppress(HeldOutError):
            return load_source(**{**recorded, **given})
    return load_source(**{**others, **given})


def _load(name, options):
    if name in _SOURCES:
        return _SOURCES[name](options)
    # Imported here because tensorflow_datasets is slow to import and seldom needed.
    from glow_tf.data.tfds_source import tfds_source

    return tfds_source(name, options)
