"""Text for files and screens, whatever names of files have in them and whatever the locale is.

Python reads a byte of a name that is not in the locale's encoding as a lone surrogate, which no encoding writes again:
of `caf\\xe9.png`, named where that is Latin-1, it makes `caf\\udce9.png`. Here such a byte is written as an escape.
"""

import os
import sys
from typing import TextIO

_ERRORS = "backslashreplace"


def printable(text: str) -> str:
    r"""A name as Unicode, for pictures, tables, protocol buffers and TensorFlow: `caf\xe9.png`.

    Bytes that are UTF-8 are the characters they stand for, also where the locale knows ASCII alone.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", _ERRORS)
    except UnicodeEncodeError:  # A surrogate that stands for no byte, as in names of Windows.
        return text.encode("utf-8", _ERRORS).decode()


def open_to_write(path: str | os.PathLike, mode: str = "w", *, newline: str | None = None) -> TextIO:
    """Opens a text file that is UTF-8 in every locale, whatever is written to it."""
    return open(path, mode, encoding="utf-8", errors=_ERRORS, newline=newline)


def write(path: str | os.PathLike, text: str) -> None:
    """Writes a text file, as `open_to_write` does."""
    with open_to_write(path) as file:
        file.write(text)


def print_everything() -> None:
    """Makes stdout and stderr show an escape for what their encoding lacks, where `print` would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        # None without a console; tests and notebooks put other objects there.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
