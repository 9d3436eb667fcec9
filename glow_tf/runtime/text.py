"""Output of text with arbitrary file names in any locale.

Python decodes a byte of a file name that is invalid in the locale's encoding as a lone surrogate, which no encoding can
write: the Latin-1 name `caf\\xe9.png` becomes `caf\\udce9.png`. Here such a byte is written as an escape.
"""

import os
import sys
from typing import TextIO

_ERRORS = "backslashreplace"


def printable(text: str) -> str:
    r"""Converts a name to valid Unicode, for pictures, tables, protocol buffers and TensorFlow: `caf\xe9.png`.

    UTF-8 bytes become their characters, even in an ASCII locale.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", _ERRORS)
    except UnicodeEncodeError:  # A surrogate that is not an escaped byte, as in Windows names.
        return text.encode("utf-8", _ERRORS).decode()


def open_to_write(path: str | os.PathLike, mode: str = "w", *, newline: str | None = None) -> TextIO:
    """Opens a UTF-8 text file, to which any text can be written."""
    return open(path, mode, encoding="utf-8", errors=_ERRORS, newline=newline)


def write(path: str | os.PathLike, text: str) -> None:
    """Writes a text file with `open_to_write`."""
    with open_to_write(path) as file:
        file.write(text)


def print_everything() -> None:
    """Makes stdout and stderr escape the characters that their encoding lacks, on which `print` would fail."""
    for stream in (sys.stdout, sys.stderr):
        # None without a console; tests and notebooks replace the streams.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
