"""The command line as people and editors write it: flags, and files of flags."""

import os
import sys
from collections.abc import Iterable, Iterator

from absl import app

_FLAGFILE = ("--flagfile", "-flagfile")


def parse(argv: list[str]) -> list[str]:
    """Parses a command line, for `app.run`; what is wrong with it is written to stderr, and ends the program.

    Args:
      argv: the program and its arguments.

    Returns:
      The program, and the arguments that are no flags.
    """
    try:
        argv = [argv[0], *_expanded(argv[1:], ())]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    return app.parse_flags_with_usage(argv)


def _expanded(arguments: Iterable[str], within: tuple[str, ...]) -> Iterator[str]:
    """Arguments with those of flagfiles in the place of `--flagfile`; `within` are the files they are from.

    absl reads such files itself, in the locale's encoding and with a byte-order mark as a part of the first flag.
    """
    arguments = iter(arguments)
    for argument in arguments:
        flag, has_value, path = argument.partition("=")
        if flag not in _FLAGFILE:
            yield argument
            if argument == "--":
                yield from arguments
            continue
        path = os.path.expanduser(path.strip() if has_value else next(arguments, ""))
        if not path:
            raise ValueError("--flagfile needs the name of a file.")
        if path in within:
            raise ValueError(f"--flagfile={path} includes itself.")
        yield from _expanded(_lines(path), (*within, path))


def _lines(path: str) -> list[str]:
    """The lines of a flagfile that are no comments."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ValueError(f"--flagfile={path} cannot be read: {error.strerror}.") from error
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    # Comments may be in any encoding, and names of files are bytes.
    text = content.decode("utf-16" if marked else "utf-8-sig", "replace" if marked else "surrogateescape")
    if "\0" in text:
        raise ValueError(f"--flagfile={path} is no text in UTF-8: it has NUL characters.")
    lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line and not line.startswith(("#", "//"))]
