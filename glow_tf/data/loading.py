"""From the name of a data set to its source."""

import dataclasses
import os

from glow_tf.data import arrays, bundled, folder
from glow_tf.data.source import DataError, Source
from glow_tf.data.values import warn_if_dark
from glow_tf.runtime import paths


def load_source(
    name: str = bundled.NAME,
    data_dir: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    test_fraction: float | None = None,
    test_size: int | None = None,
    crop_from: int | None = None,
) -> Source:
    """Loads a data set by name.

    A data set of TensorFlow Datasets that the papers use is treated as they do, in size, crops,
    padding and number held out: its `glow_tf.data.recipe`. What is given here goes before that.

    Args:
        name: "people" (bundled), "folder" (images under `data_dir`), "arrays" (the .npz or
            .npy file `data_dir`), or an image data set of TensorFlow Datasets, with its
            config if it has several, such as "cifar10" or "imagenet_resized/32x32".
        data_dir: folder or file, as above; for TensorFlow Datasets, where it keeps its data,
            None being its default.
        image_size: H = W, or (H, W), in pixels; None for that of the data set's recipe, else the
            data's own. Images are resized to match the shorter side and cropped at the centre.
        channels: 1 (grey) or 3 (RGB); None for the data's own.
        test_fraction: share of the images in the test split, in (0, 1), where the data does
            not bring its own split; by default 0.1, or 0.05 for TensorFlow Datasets.
        test_size: number of images in the test split instead of a share; not for "folder".
        crop_from: bring images to squares of this side first; training then takes random crops of
            `image_size` from them, evaluation central ones. None for that of the data set's
            recipe, if it has one and `image_size` is the recipe's; `image_size` for no crops.

    Returns:
        The source.

    Raises:
        DataError: if the data is not there or not fit; the message says what to do.
    """
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"the data set's name is empty ({name!r}); set --dataset, e.g. people.")
    name = name.strip()
    options = {
        "data_dir": paths.local(data_dir, "--data_dir") if data_dir else None,
        "image_size": image_size,
        "channels": channels,
        "test_fraction": test_fraction,
        "test_size": test_size,
        "crop_from": crop_from,
    }
    source = _load(name, **options)
    warn_if_dark(source)
    if data_dir:
        # To be found from anywhere.
        options["data_dir"] = os.path.abspath(options["data_dir"])
    given = {key: value for key, value in options.items() if value is not None}
    return dataclasses.replace(source, arguments={"name": name, **given})


def _load(name, data_dir, image_size, channels, test_fraction, test_size, crop_from):
    if name == bundled.NAME:
        return bundled.people_source(image_size, channels, crop_from)
    if name == "folder":
        if test_size is not None:
            raise DataError("dataset=folder takes test_fraction rather than test_size.")
        return folder.folder_source(data_dir, image_size, channels, test_fraction, crop_from)
    if name == "arrays":
        return arrays.arrays_source(data_dir, image_size, channels, test_fraction, test_size, crop_from)
    # Imported here because tensorflow_datasets is slow to import and seldom needed.
    from glow_tf.data import tfds_source

    return tfds_source.tfds_source(name, data_dir, image_size, channels, test_fraction, test_size, crop_from)
