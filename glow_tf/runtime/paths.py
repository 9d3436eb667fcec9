"""Paths, as people write them."""

import os
import re

from glow_tf.runtime.text import printable

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_PATTERN = re.compile(r"[][*?\\]")


def local(path: str | os.PathLike, name: str = "The path") -> str:
    """Returns a path of this machine, with `~` and `~user` expanded.

    Args:
      path: as it was written.
      name: what to call it in an error, such as `--model_dir`.

    Raises:
      ValueError: if it is empty, or an address such as `gs://bucket/folder`, of which nothing here can read or write.
    """
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text or "\0" in text:
        raise ValueError(f"{name} must be a file or folder, not {text!r}.")
    if _URL.match(text):
        raise ValueError(
            f"{name}={text} is an address; files are read and written on this machine alone: copy it here, or mount it "
            "(gs:// by gcsfuse)."
        )
    return os.path.expanduser(text)


def for_tensorflow(path: str | os.PathLike, name: str = "The path") -> str:
    r"""Returns the path as `local` does, for what TensorFlow reads and writes itself: checkpoints and SavedModels.

    TensorFlow takes a name with `[`, `]`, `*`, `?` or `\` for a pattern, and does not find the file that has it. All
    names are UTF-8 to it, whatever they are in the locale: Python would look for another file.

    Raises:
      ValueError: as `local`, or if such a character is in it, or the name is not UTF-8.
    """
    text = local(path, name)
    found = _PATTERN.search(text)
    if found and os.name != "nt":
        raise ValueError(
            f"{name}={text} has a {found[0]!r}, by which TensorFlow would look for several names; choose another name."
        )
    if not _is_utf8(text):
        raise ValueError(
            f"{name}={printable(text)} is no name in UTF-8, as which TensorFlow takes all names; choose another name, "
            "or set PYTHONUTF8=1 if it is the locale that is not UTF-8."
        )
    return text


def _is_utf8(path: str) -> bool:
    """Returns whether the name that the operating system is given for `path` is UTF-8."""
    try:
        return os.fsencode(path) == path.encode()
    except UnicodeEncodeError:
        return False
