"""Checks of --output: the suffix determines the file type, and files of other types are not replaced."""

import os
import pathlib
import zipfile
from collections.abc import Collection

from absl import flags

from glow_tf.analysis.grid import PICTURES
from glow_tf.runtime.text import printable

FLAGS = flags.FLAGS

ARRAYS = (".npz", ".npy")
# Leading bytes of the files.
_MAGIC = {
    ".png": b"\x89PNG",
    **dict.fromkeys((".jpg", ".jpeg"), b"\xff\xd8\xff"),
    ".npz": b"PK",
    ".npy": b"\x93NUMPY",
}


def picture(default: str) -> str:
    """Returns --output, or the default, as the path of a picture; raises as `suffix_of` does."""
    path = FLAGS.output or default
    suffix_of(path, PICTURES)
    return path


def suffix_of(path: str, suffixes: Collection[str], *, folders: bool = False, arrays: Collection[str] = ()) -> str:
    """Checks that a path may be written, and returns its suffix in lower case, or "" for a folder.

    Args:
      path: the value of --output.
      suffixes: supported suffixes.
      folders: whether it may be a folder: an existing one, or a name that ends with a slash or has no suffix.
      arrays: names of the arrays that an existing .npz file must contain to be replaced.

    Raises:
      ValueError: if the suffix is not supported, or a file of another type exists there.
    """
    suffix, is_folder = pathlib.Path(path).suffix.lower(), path.endswith(("/", os.sep)) or os.path.isdir(path)
    if folders and (is_folder or not suffix):
        # With a slash after its name, a file does not exist for the operating system.
        if os.path.isfile(path.rstrip("/" + os.sep)):
            raise ValueError(f"--output={printable(path)} is there and is no folder; it will not be overwritten.")
        return ""
    if is_folder or suffix not in suffixes:
        known = f"must end with {', '.join(suffixes)}{', or with / for a folder' if folders else ''}"
        raise ValueError(f"--output={printable(path)} {known}.")
    if os.path.exists(path) and not _is_of_kind(path, suffix, arrays):
        raise ValueError(
            f"--output={printable(path)} is there and is no {suffix} file that this command writes; it will not be "
            "overwritten."
        )
    return suffix


def _is_of_kind(path: str, suffix: str, arrays: Collection[str]) -> bool:
    with open(path, "rb") as file:
        beginning = file.read(8)
    if not beginning.startswith(_MAGIC[suffix]):
        return False
    if suffix != ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in arrays} <= set(archive.namelist())
    except zipfile.BadZipFile:
        return False
