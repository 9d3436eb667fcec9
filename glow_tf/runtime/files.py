"""Atomic file writes."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from glow_tf.runtime import paths


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path that replaces `path` on success; on failure it is removed.

    The temporary path is always the same, so that the remains of a killed process are overwritten. After a power
    failure `path` is the old file or the new one.
    """
    path = pathlib.Path(paths.local(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: pathlib.Path) -> pathlib.Path:
    """Returns the hidden temporary path beside `path` that `atomic_write` uses."""
    return path.with_name(f".{path.name}.unfinished")


def flush_to_disk(path: str | os.PathLike) -> None:
    """Syncs a file or a directory to disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
