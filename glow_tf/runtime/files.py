"""Files that are written atomically: as a whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from glow_tf.runtime import paths


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path that replaces `path` on success; on failure it is removed.

    The temporary path is the same every time, so that what a killed process left is written over.
    """
    path = pathlib.Path(paths.local(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: pathlib.Path) -> pathlib.Path:
    """Returns the hidden path beside `path` under which it is written."""
    return path.with_name(f".{path.name}.unfinished")
