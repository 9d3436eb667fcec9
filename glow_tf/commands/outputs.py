"""Checks of --output before anything is computed: its suffix, what it would replace, and whether it can be written."""

import os
import pathlib
import zipfile
from collections.abc import Collection

from absl import flags

from glow_tf.analysis.grid import PICTURES
from glow_tf.runtime.text import printable

FLAGS = flags.FLAGS

ARRAYS = (".npz", ".npy")
PLOTS = (".png", ".svg")
# Leading bytes of the files that commands write, by which they are told from other files of the same suffix.
_MAGIC = {
    ".png": b"\x89PNG",
    **dict.fromkeys((".jpg", ".jpeg"), b"\xff\xd8\xff"),
    ".gif": b"GIF8",
    ".svg": b"<?xml",
    ".npz": b"PK",
    ".npy": b"\x93NUMPY",
    ".md": b"| ",
    ".csv": b"image,bits_per_dim,",
    ".json": b"{",
}


def picture(default: str, suffixes: Collection[str] = tuple(PICTURES)) -> str:
    """Returns --output, or the default, as the path of a picture; raises as `suffix_of` does."""
    path = FLAGS.output or default
    suffix_of(path, suffixes)
    return path


def folder(default: str) -> pathlib.Path:
    """Returns --output, or the default, as the path of a folder. Raises ValueError if it cannot be written to."""
    path = FLAGS.output or default
    check_writable(path, path)
    return pathlib.Path(path)


def suffix_of(
    path: str,
    suffixes: Collection[str],
    *,
    folders: bool = False,
    arrays: Collection[str] = (),
    flag: str = "output",
) -> str:
    """Checks that a path may and can be written, and returns its suffix in lower case, or "" for a folder.

    Args:
      path: the value of the flag.
      suffixes: supported suffixes.
      folders: whether it may be a folder: an existing one, or a name that ends with a slash or has no suffix.
      arrays: names of the arrays that an existing .npz file must contain to be replaced.
      flag: name of the flag.

    Raises:
      ValueError: if the suffix is not supported, a file of another type exists there, or it cannot be written.
    """
    shown = f"--{flag}={printable(path)}"
    suffix, is_folder = pathlib.Path(path).suffix.lower(), path.endswith(("/", os.sep)) or os.path.isdir(path)
    if folders and (is_folder or not suffix):
        # With a slash after its name, a file does not exist for the operating system.
        if os.path.isfile(path.rstrip("/" + os.sep)):
            raise ValueError(f"{shown} is there and is not a folder; it will not be overwritten.")
        check_writable(path, path, flag)
        return ""
    if is_folder:
        raise ValueError(f"{shown} is a folder; name a file that ends with {', '.join(suffixes)}.")
    if suffix not in suffixes:
        known = f"must end with {', '.join(suffixes)}{', or with / for a folder' if folders else ''}"
        raise ValueError(f"{shown} {known}.")
    if os.path.exists(path) and not (os.path.isfile(path) and _is_of_kind(path, suffix, arrays)):
        raise ValueError(
            f"{shown} is there and is no {suffix} file that this command writes; it will not be overwritten."
        )
    check_writable(path, os.path.dirname(path), flag)
    return suffix


def check_writable(path: str | os.PathLike, directory: str | os.PathLike, flag: str = "output") -> None:
    """Checks that files can be made in a folder, which need not exist yet.

    Args:
      path: the value of the flag.
      directory: the folder.
      flag: name of the flag.

    Raises:
      ValueError: if it is not a folder or is read-only, or the folder in which it would be made is.
    """
    folder = pathlib.Path(directory)
    existing = next(found for found in (folder, *folder.parents, pathlib.Path()) if os.path.exists(found))
    if not existing.is_dir():
        problem = "is not a folder"
    elif not os.access(existing, os.W_OK | os.X_OK):
        problem = "is a read-only folder"
    else:
        return
    raise ValueError(
        f"--{flag}={printable(os.fspath(path))} cannot be written: {printable(str(existing))} {problem}. Name another "
        "place."
    )


def _is_of_kind(path: str, suffix: str, arrays: Collection[str]) -> bool:
    with open(path, "rb") as file:
        beginning = file.read(32)
    if not beginning.startswith(_MAGIC[suffix]):
        return False
    if suffix != ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in arrays} <= set(archive.namelist())
    except zipfile.BadZipFile:
        return False
