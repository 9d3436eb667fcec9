"""One run at a time in a model directory."""

import contextlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

import filelock

from glow_tf.runtime import text

_LOCK, _HOLDER = ".lock", ".lock.json"


class DirectoryInUseError(ValueError):
    """Another run is under way in the model directory; the message says whose."""


@contextlib.contextmanager
def held(directory: pathlib.Path) -> Iterator[None]:
    """Keeps a model directory from other runs, of this machine and of others that share the folder.

    The operating system holds the lock for the process, and lets go of it when that ends, however it does. On a file
    system that knows no locks there is none.

    Args:
      directory: the model directory; made if it is not there.

    Raises:
      DirectoryInUseError: if another run has it.
      OSError: if nothing can be written there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(directory / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise DirectoryInUseError(
            f"{directory} is in use by {_holder(directory)}. Two runs would spoil each other's files: stop that one, "
            "or choose another --model_dir."
        ) from None
    except NotImplementedError:
        yield
        return
    try:
        found = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        text.write(directory / _HOLDER, json.dumps(found))
        yield
    finally:
        (directory / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(directory: pathlib.Path) -> str:
    try:
        found = json.loads((directory / _HOLDER).read_text())
        return f"process {found['process']} on {found['host']}, since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        # It has only just begun.
        return "another run"
