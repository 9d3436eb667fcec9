"""Checks and expansion of paths."""

import os
import re

from glow_tf.runtime.text import printable

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_PATTERN = re.compile(r"[][*?\\]")


def local(path: str | os.PathLike, name: str = "The path") -> str:
    """Returns a path on this machine, with `~` and `~user` expanded.

    Args:
      path: the path.
      name: name of the path in errors, such as `--model_dir`.

    Raises:
      ValueError: if it is empty, has a NUL character, or is a URL such as `gs://bucket/folder`, which is not supported.
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
    r"""Returns a path as `local` does, for files that TensorFlow itself reads and writes: checkpoints and SavedModels.

    TensorFlow interprets names with `[`, `]`, `*`, `?` or `\` as patterns, and does not find files with such names. It
    encodes all names in UTF-8, whatever the locale, so that Python could look for a different file.

    Raises:
      ValueError: as for `local`, or if the path contains such a character, or is not UTF-8.
    """
    text = local(path, name)
    found = _PATTERN.search(text)
    if found and os.name != "nt":
        raise ValueError(
            f"{name}={text} has a {found[0]!r}, by which TensorFlow would look for several names; choose another name."
        )
    if not _is_utf8(text):
        raise ValueError(
            f"{name}={printable(text)} is not a name in UTF-8, as which TensorFlow takes all names; choose another "
            "name, or set PYTHONUTF8=1 if it is the locale that is not UTF-8."
        )
    return text


def _is_utf8(path: str) -> bool:
    """Returns whether `path` is encoded in UTF-8 for the operating system."""
    try:
        return os.fsencode(path) == path.encode()
    except UnicodeEncodeError:
        return False
