"""Sources of individually named pictures: files, and folders of them."""

import os
import threading
from collections.abc import Sequence

import numpy as np

from glow_tf.data import folder_files, images, picture_files
from glow_tf.data.indexed import IndexedSource
from glow_tf.data.names import listed
from glow_tf.data.source import DataError
from glow_tf.runtime.text import printable


class OtherSize(ValueError):
    """Raised if a picture is not of the model's size."""


def find_pictures(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the given picture files, and all picture files in the given folders and their sub-folders.

    Folders are searched as for `--dataset=folder`: see `folder_source`.

    Args:
      paths: files and folders.

    Returns:
      All pictures in the order of `paths`, sorted within each folder; and those that are in `paths` themselves.

    Raises:
      DataError: if a path does not exist, or a folder holds no picture.
    """
    missing = [printable(path) for path in paths if not os.path.exists(path)]
    if missing:
        raise DataError(f"--images: {listed(missing)} {'is' if len(missing) == 1 else 'are'} not there.")
    found, named = [], []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            named.append(path)
            continue
        files = folder_files.list_files(path)
        if not files.images:
            others = f", but {files.unread()}, which cannot be read: convert them" if files.unread() else ""
            raise DataError(f"--images={printable(path)} holds no images (png, jpeg, bmp, webp, gif, ...){others}.")
        found += [os.path.join(path, file) for file in files.images]
    return found, named


def picture_source(
    paths: Sequence[str],
    image_shape: tuple[int, int, int],
    *,
    exact: bool = False,
    crop_from: int | None = None,
    upscale: bool = False,
    label: int | None = None,
    num_classes: int = 0,
) -> IndexedSource:
    """Opens pictures as the test split of a source with an empty train split; they are decoded as needed.

    As in `folder_source`, a picture in a folder that cannot be read, or would have to be enlarged without `upscale`, is
    left out and recorded in `Source.skipped`. If it is in `paths` itself, it is an error.

    Args:
      paths: picture files, and folders of them.
      image_shape: (H, W, C) that pictures are resized and cropped to, as for training.
      exact: whether to treat pictures of another height or width as unreadable.
      crop_from: side of the squares that pictures are fitted to before a central crop, as in `load_source`; not with
        `exact`.
      upscale: whether to enlarge pictures that are too small.
      label: label of all pictures.
      num_classes: number of labels; 0 if there are none.

    Raises:
      DataError: if no picture can be read, or one that is in `paths` itself cannot.
    """
    files, named = find_pictures(paths)
    stored_shape = image_shape if exact else images.stored_shape(image_shape, crop_from)
    decoder = _Decoder(files, stored_shape, exact, upscale)
    # A file given twice is scored twice, but read only once here.
    positions = {file: i for i, file in enumerate(files)}
    for file in dict.fromkeys(named):
        decoder.decode(positions[file])
    readable = any(decoder.decode(i) is not None for i in range(len(files)))
    if decoder.skipped.keys() & {printable(file) for file in named} or not readable:
        raise decoder.unreadable()
    return IndexedSource(
        name="pictures",
        image_shape=image_shape,
        stored_shape=stored_shape,
        num_classes=num_classes,
        class_names=tuple(map(str, range(num_classes))),
        sizes={"train": 0, "test": len(files)},
        skipped=decoder.skipped,
        readers={"train": lambda index: None, "test": lambda index: _labelled(decoder.decode(index), label or 0)},
        labels={"train": [], "test": [label or 0] * len(files)},
        names={"train": [], "test": files},
    )


class _Decoder:
    """Decodes files and records those that are left out."""

    def __init__(self, files, image_shape, exact, enlarge):
        self.skipped = {}
        self._files, self._image_shape, self._exact, self._enlarge = files, image_shape, exact, enlarge
        self._lock = threading.Lock()

    def decode(self, index):
        """Returns uint8 [H, W, C], or None if the file cannot be used."""
        file = self._files[index]
        try:
            if self._exact:
                _check_size(file, self._image_shape)
            return images.decode_file(file, self._image_shape, enlarge=self._enlarge)
        except (images.TooSmall, OtherSize) as error:
            reason = str(error)
        except Exception as error:  # Pillow's decoders raise almost any exception on a broken file.
            reason = f"{type(error).__name__}: {error}"
        with self._lock:
            self.skipped[printable(file)] = reason
        return None

    def unreadable(self):
        """Returns an error that lists the files that cannot be used."""
        bad = listed([f"{file} ({reason})" for file, reason in self.skipped.items()])
        return DataError(f"--images: cannot be used as pictures of this model: {bad}.")


def _labelled(pixels: np.ndarray | None, label: int) -> tuple[np.ndarray, int] | None:
    return None if pixels is None else (pixels, label)


def _check_size(file, image_shape):
    size = picture_files.upright_size(file)
    if size != tuple(image_shape[:2]):
        raise OtherSize(f"{images.size_text(size)}, and --exact takes {images.size_text(image_shape)} alone")
