"""Lock of a model directory, for one run at a time."""

import contextlib
import errno
import inspect
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

import filelock

from glow_tf.runtime import text

_LOCK, _HOLDER = ".lock", ".lock.json"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# On a file system without locks, newer versions of filelock use a marker file instead, which a killed process leaves.
_HAS_FALLBACK = "fallback_to_soft" in inspect.signature(filelock.FileLock.__init__).parameters
_NO_FALLBACK = {"fallback_to_soft": False} if _HAS_FALLBACK else {}


class DirectoryInUseError(ValueError):
    """Raised if another run is under way in the model directory; the message says which."""


@contextlib.contextmanager
def held(directory: pathlib.Path) -> Iterator[None]:
    """Locks a model directory against other runs, on this machine and on others that share the directory.

    The operating system holds the lock for the process, and releases it when the process ends, for whatever reason. On
    a file system without locks, nothing is locked.

    Args:
      directory: the model directory; created if it does not exist.

    Raises:
      DirectoryInUseError: if another run holds the lock.
      OSError: if the directory cannot be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(directory / _LOCK, **_NO_FALLBACK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise DirectoryInUseError(
            f"{directory} is in use by {_holder(directory)}. Two runs would corrupt each other's files: stop that one, "
            "or choose another --model_dir."
        ) from None
    except NotImplementedError:
        # Older versions of filelock raise it where there are no locks.
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    if not lock.is_locked:
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
        # The other run has only just begun.
        return "another run"
