"""Path flags, plugins, flagfiles and warnings, shared by all commands."""

import csv
import importlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator

import absl.logging
from absl import app, flags

from glow_tf import flagfiles
from glow_tf.data import picture_files
from glow_tf.runtime import paths

# Flags belong to the module that defines them through this one.
flags.disclaim_key_flags()

_FLAGFILE = ("--flagfile", "-flagfile")


class _Path(flags.ArgumentParser):
    syntactic_help = "a file or folder"

    def __init__(self, name: str, for_tensorflow: bool):
        self._name = f"--{name}"
        self._read = paths.for_tensorflow if for_tensorflow else paths.local

    def parse(self, argument):
        return self._read(argument, self._name) if argument else argument


class _Paths(_Path):
    syntactic_help = "files or folders, with commas between them"

    def parse(self, argument):
        if isinstance(argument, list):
            return argument
        # The name of an existing file needs no quotes, even if it contains a comma.
        exists = os.path.exists(os.path.expanduser(argument))
        try:
            names = [argument] if exists else next(csv.reader([argument], strict=True), [])
        except csv.Error as error:
            raise ValueError(f"{self._name} is not a list of names with commas between them: {error}.") from error
        if not names:
            raise ValueError(f"{self._name} names no file.")
        return [self._read(name.strip(), self._name) for name in names]


class _Plain(logging.Formatter):
    """Formats records as `warning: ...`, like printed errors, and not as `W1128 12:00:00.123 123 file.py:12] ...`."""

    def format(self, record):
        return f"{record.levelname.lower()}: {super().format(record)}"


def show_warnings() -> None:
    """Shows logged warnings and errors, but no lower levels, in a plain format."""
    absl.logging.set_verbosity(absl.logging.WARNING)
    absl.logging.get_absl_handler().setFormatter(_Plain())


def define_path(name: str, default: str | None, help: str, *, for_tensorflow: bool = False) -> None:
    """Defines a flag whose value is a path, read by `paths.local` or `paths.for_tensorflow`."""
    flags.DEFINE(_Path(name, for_tensorflow), name, default, help, flags.FLAGS, flags.ArgumentSerializer())


def define_paths(name: str, help: str) -> None:
    """Defines a flag whose value is a list of paths; None by default."""
    help = f"{help} A name with a comma in it goes in double quotes."
    flags.DEFINE(_Paths(name, False), name, None, help, flags.FLAGS, flags.CsvListSerializer(","))


def define_max_megapixels() -> None:
    """Defines --max_megapixels, for `picture_files.limit`."""
    flags.DEFINE_float(
        "max_megapixels",
        picture_files.DEFAULT_MEGAPIXELS,
        "Largest picture file to read, and the most pixels decoded at the same time, in 10^6 pixels.",
        lower_bound=1e-6,
    )


def define_flip() -> None:
    """Defines --flip, None by default."""
    flags.DEFINE_bool("flip", None, "Mirrors training images at random; by default as the papers do with the data set.")


def define_shift() -> None:
    """Defines --shift, None by default."""
    flags.DEFINE_integer(
        "shift",
        None,
        "Largest random shift of training images, in pixels; by default as the papers do with the data set.",
        lower_bound=0,
    )


def define_plugins() -> None:
    """Defines --plugins, the modules that `parse_command_line` imports."""
    flags.DEFINE_list(
        "plugins", [], "Modules that define layers, transforms, networks, partitions or dequantizers of your own."
    )


def import_plugins(names: Iterable[str]) -> None:
    """Imports modules, which register the classes that they define.

    Raises:
      ValueError: if one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"--plugins={name} cannot be imported: {error}. It is looked for in this folder and in PYTHONPATH."
            ) from error


def parse_command_line(argv: list[str]) -> list[str]:
    """Parses a command line, for `app.run`; an error in it is written to stderr, and ends the program.

    Args:
      argv: the program and its arguments.

    Returns:
      The program, and the arguments that are not flags.
    """
    try:
        argv = [argv[0], *_expanded(argv[1:], ())]
        rest = app.parse_flags_with_usage(argv)
        import_plugins(flags.FLAGS.plugins if "plugins" in flags.FLAGS else ())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    return rest


def _expanded(arguments: Iterable[str], within: tuple[str, ...]) -> Iterator[str]:
    """Yields the arguments, with each `--flagfile` replaced by its contents; `within` are the files they come from.

    absl itself would read the files in the locale's encoding, and take a byte-order mark for a part of the first flag.
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
        if not os.path.exists(path):
            path = str(flagfiles.find(path) or path)
        if path in within:
            raise ValueError(f"--flagfile={path} includes itself.")
        yield from _expanded(_lines(path), (*within, path))


def _lines(path: str) -> list[str]:
    """Returns the lines of a flagfile, without comments and blank lines."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        hint = "; glow flags lists the configurations that have names" if isinstance(error, FileNotFoundError) else ""
        raise ValueError(f"--flagfile={path} cannot be read: {error.strerror}{hint}.") from error
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    # Comments may be in any encoding, and file names are bytes.
    text = content.decode("utf-16" if marked else "utf-8-sig", "replace" if marked else "surrogateescape")
    if "\0" in text:
        raise ValueError(f"--flagfile={path} is not text in UTF-8: it has NUL characters.")
    lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line and not line.startswith(("#", "//"))]
