"""Images in a folder: `--dataset=folder --data_dir=DIR`."""

import hashlib
import logging
import os
import threading

from glow_tf.data import folder_files, images
from glow_tf.data.folder_splits import find_splits, folder_at
from glow_tf.data.indexed import IndexedSource
from glow_tf.data.names import in_order, listed, normalized
from glow_tf.data.options import DataOptions
from glow_tf.data.source import DataError, check_fraction

_log = logging.getLogger(__name__)

TEST_FRACTION = 0.1
# All files fail if their disk is lost, and would be logged one by one.
_MOST_LOGGED = 20


def folder_source(options: DataOptions) -> IndexedSource:
    """Opens the images under a folder; they are decoded as needed.

    An image's label is the top-level sub-folder of `data_dir` that contains it; images directly in
    `data_dir`, or all in one sub-folder, have no label. Labels are ordered by name, or numerically if
    all names are numbers. Folders named like splits, such as `train` and `test`, are the splits, and
    labels start one level below them: see `folder_splits`. Otherwise the hash of a file's relative
    name decides its split, so that adding files moves no others. (If that leaves a split without a
    readable image, as can happen with a few dozen files, it gets the one closest to the threshold;
    adding files later may move that one back.)

    Hidden files, system files and files without an image extension are ignored; pictures in
    unsupported formats are counted and logged. An image that cannot be read is left out and recorded
    in `Source.skipped`; the first twenty of these are logged. So is an image that would have to be enlarged, unless
    `upscale` is set; of these, only the first is logged.

    Args:
      options: `data_dir` is the folder; `image_size` is required, and `test_size` is not supported.
        By default, images are RGB and a tenth of them is held out.

    Returns:
      The source.

    Raises:
      DataError: if the folder or `image_size` is missing, or the folder holds fewer than two
        readable images, images both directly in it and in sub-folders, or sub-folders that may
        or may not be splits.
    """
    root = _check_folder(options.data_dir)
    if options.image_size is None:
        raise DataError("dataset=folder needs the size to bring images to: set --image_size (pixels).")
    if options.test_size is not None:
        raise DataError("dataset=folder takes test_fraction rather than test_size.")
    image_shape, stored_shape = options.shapes(None, channels=3)
    check_fraction(options.test_fraction, TEST_FRACTION)

    found = find_splits(root, _list_images(root))
    decoder = _Decoder(root, stored_shape, enlarge=bool(options.upscale))
    splits = _splits(found, decoder, options)
    class_names, labels = _labels(root, splits, found.depth)
    return IndexedSource(
        name="folder",
        image_shape=image_shape,
        stored_shape=stored_shape,
        num_classes=len(class_names),
        class_names=class_names,
        sizes={split: len(files) for split, files in splits.items()},
        skipped=decoder.skipped,
        readers={split: _reader(decoder, splits[split], labels[split]) for split in splits},
        labels=labels,
        names=splits,
    )


def _check_folder(data_dir):
    """Returns `data_dir` if it is a folder, else raises DataError."""
    if not data_dir:
        raise DataError("dataset=folder needs the folder of images: set --data_dir.")
    if not os.path.isdir(data_dir):
        raise DataError(f"--data_dir={data_dir} is not a folder; set it to a folder of images.")
    return data_dir


def _splits(found, decoder, options):
    """Returns the files of the train and test splits, each with a readable image. Raises DataError."""
    if found.test is None:
        return _split_by_hash(found.train, check_fraction(options.test_fraction, TEST_FRACTION), decoder)
    options.check_nothing_held_out(options.data_dir)
    splits = {"train": found.train, "test": found.test}
    for files in splits.values():
        if not any(decoder.decode(file) is not None for file in files):
            raise decoder.unreadable(files)
    return splits


class _Decoder:
    """Decodes files under a folder and records those that cannot be read or are too small."""

    def __init__(self, root, image_shape, enlarge):
        self.skipped = {}
        self._root = root
        self._image_shape = image_shape
        self._enlarge = enlarge
        self._any_too_small = False
        self._unreadable_files = 0
        self._lock = threading.Lock()

    def decode(self, file):
        """Returns uint8 [H, W, C], or None if the file is to be left out."""
        try:
            return images.decode_file(os.path.join(self._root, file), self._image_shape, enlarge=self._enlarge)
        except images.TooSmall as error:
            reason, too_small = str(error), True
        except Exception as error:  # Pillow's decoders raise almost any exception on a broken file.
            reason, too_small = f"{type(error).__name__}: {error}", False
        with self._lock:
            tell = file not in self.skipped and not (too_small and self._any_too_small)
            self._any_too_small |= too_small
            self.skipped[file] = reason
            self._unreadable_files += tell and not too_small
            count = self._unreadable_files
        if tell and too_small:
            least = images.size_text(self._image_shape)
            _log.warning("Leaving out images smaller than %s, such as %s; --upscale enlarges them", least, file)
        elif tell and count <= _MOST_LOGGED:
            _log.warning("Leaving out %s: %s", file, reason)
        elif tell and count == _MOST_LOGGED + 1:
            _log.warning("Leaving out more images, which are not logged")
        return None

    def unreadable(self, files):
        """Returns the error to raise if too few of `files` can be read."""
        bad = [file for file in files if file in self.skipped]
        first = f" {bad[0]}: {self.skipped[bad[0]]}." if bad else ""
        return DataError(
            f"{self._root} needs at least 2 readable images, one to train on and one to test "
            f"on; of {len(files)}, {len(bad)} cannot be read or are too small.{first} Add images, convert "
            "these to png, set a smaller --image_size, or enlarge them by --upscale."
        )


def _reader(decoder, files, labels):
    def read(index):
        pixels = decoder.decode(files[index])
        return None if pixels is None else (pixels, labels[index])

    return read


def _list_images(root):
    """Returns the sorted relative names, with forward slashes, of all images under a folder. Raises DataError."""
    files = folder_files.list_files(root)
    if not files.images:
        others = listed([f"{count} {ending or 'without ending'}" for ending, count in files.others.items()])
        raise DataError(
            f"--data_dir={root} holds no images (png, jpeg, bmp, webp, gif, ...)"
            + (f", but other files: {others}. Convert these to png or jpeg, or set it" if others else "; set it")
            + " to a folder that does."
        )
    if files.unread():
        _log.warning(
            "%s: passing over %s files, which cannot be read: convert them to png or jpeg", root, files.unread()
        )
    return files.images


def _position(file):
    """Hashes a file name to a number in [0, 1) that is the same on every operating system."""
    digest = hashlib.sha256(normalized(file).encode("utf-8", "surrogateescape"))
    return int.from_bytes(digest.digest()[:8], "big") / 2**64


def _split_by_hash(files, fraction, decoder):
    """Splits files by `_position` such that both splits have a readable image. Raises DataError."""
    positions = {file: _position(file) for file in files}
    ranked = sorted(files, key=positions.get)

    def readable(index):
        return decoder.decode(ranked[index]) is not None

    first = next((i for i in range(len(ranked)) if readable(i)), None)
    last = next((i for i in reversed(range(len(ranked))) if readable(i)), None)
    if first == last:
        raise decoder.unreadable(files)
    cut = sum(position < fraction for position in positions.values())
    cut = min(max(cut, first + 1), last)
    return {"train": folder_files.in_file_order(ranked[cut:]), "test": folder_files.in_file_order(ranked[:cut])}


def _labels(root, splits, depth):
    """Returns the class names and the file labels of each split, which are 0 without classes. Raises DataError."""
    if depth is None:
        return (), {split: [0] * len(files) for split, files in splits.items()}
    folders = {
        split: [None if (folder := folder_at(file, depth)) is None else normalized(folder) for file in files]
        for split, files in splits.items()
    }
    names = {name for split in folders.values() for name in split}
    if None in names and len(names) > 1:
        raise DataError(
            f"{root} has images both directly in it and in sub-folders, which are labels "
            f"({', '.join(sorted(names - {None})[:3])}). Move the former into a sub-folder, or "
            "all images into one."
        )
    # A single folder around everything is not a class.
    class_names = in_order(names) if len(names) > 1 else ()
    number = {name: label for label, name in enumerate(class_names)}
    return class_names, {split: [number.get(name, 0) for name in files] for split, files in folders.items()}
