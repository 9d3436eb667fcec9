"""Command-line flags that the training program and the tools have in common: paths, and what is read from them."""

import csv
import os

from absl import flags

from glow_tf.data import picture_files
from glow_tf.runtime import paths

# Flags belong to the module that defines them by this one.
flags.disclaim_key_flags()


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
        # One whose name has a comma needs no quotes, if it is there.
        one = os.path.exists(os.path.expanduser(argument))
        try:
            names = [argument] if one else next(csv.reader([argument], strict=True), [])
        except csv.Error as error:
            raise ValueError(f"{self._name} is no list of names with commas between them: {error}.") from error
        return [self._read(name.strip(), self._name) for name in names]


def define_path(name: str, default: str | None, help: str, *, for_tensorflow: bool = False) -> None:
    """Defines a flag whose value is a path, see `paths.local`, or one that TensorFlow reads or writes."""
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
        "Largest picture file that is read, in 10^6 pixels; so many pixels at a time are in memory.",
        lower_bound=1e-6,
    )
