"""The bundled data set `people`: 1,008 portraits.

Noto Emoji pictures at 32x32 on white. `people.LICENSE.md` states their source and licence, and
`tools/make_bundled_data.py` creates the file.
"""

import importlib.resources

import numpy as np

from glow_tf.data.arrays import array_reader
from glow_tf.data.indexed import IndexedSource
from glow_tf.data.options import DataOptions
from glow_tf.data.source import SPLITS, DataError

NAME = "people"


def people_source(options: DataOptions) -> IndexedSource:
    """Opens the bundled portraits, labelled with one of six skin tones.

    The test split is a fixed set of about a tenth; all skin tones of an emoji are in the same split.

    Args:
      options: `image_size` is 32 by default; 16 and 8 are exact averages of it. Images are RGB by
        default. `data_dir`, `test_fraction` and `test_size` are not supported.

    Returns:
      The source.

    Raises:
      DataError: if an option is invalid or not supported.
    """
    if options.data_dir is not None:
        raise DataError(
            f"dataset={NAME} is bundled and has no data_dir, got {options.data_dir}. For images of your own, set "
            "--dataset=folder or --dataset=arrays."
        )
    options.check_nothing_held_out(f"dataset={NAME}")
    image_shape, stored_shape = options.shapes((32, 32), channels=3)
    options.check_large_enough(NAME, (32, 32), stored_shape)
    arrays = _load()
    rows = {"train": ~arrays["is_test"], "test": arrays["is_test"]}
    class_names = tuple(str(name) for name in arrays["class_names"])
    return IndexedSource(
        name=NAME,
        image_shape=image_shape,
        stored_shape=stored_shape,
        num_classes=len(class_names),
        class_names=class_names,
        sizes={split: int(rows[split].sum()) for split in SPLITS},
        readers={
            split: array_reader(arrays["images"][rows[split]], arrays["labels"][rows[split]], stored_shape)
            for split in SPLITS
        },
        labels={split: arrays["labels"][rows[split]] for split in SPLITS},
    )


def people_attributes(split: str | None = None) -> dict[str, np.ndarray]:
    """Returns the metadata of each bundled picture.

    Args:
      split: "train" or "test" for the pictures of that split, in the order of
        `Source.examples(split)`; None for all, in the order of the file.

    Returns:
      Dict of arrays [N]: `labels` int32 (skin tone, index into `class_names`), `group`
      int32 (kind of picture, index into `group_names`), `gender` str ("man", "woman" or
      "person"), `names` str (name of the emoji, the same for all its skin tones), `is_test`
      bool; plus `class_names` and `group_names`.

    Raises:
      ValueError: on an unknown split.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be 'train', 'test' or None, got {split!r}.")
    arrays = _load()
    del arrays["images"]
    if split is None:
        return arrays
    rows = arrays["is_test"] == (split == "test")
    return {key: values if key.endswith("_names") else values[rows] for key, values in arrays.items()}


def _load():
    file = importlib.resources.files("glow_tf.data").joinpath("people.npz")
    with file.open("rb") as stream, np.load(stream) as arrays:
        return dict(arrays)
