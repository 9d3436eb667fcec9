"""Memory that tests give back."""

import ctypes
import gc
import pathlib

# Python is made to look through everything for garbage where a process is larger than this, and has grown since it last
# was by:
_FREE_BYTES = 1.5 * 2**30
_GROWTH_BYTES = 0.25 * 2**30
_after_collection = 0.0


def give_back() -> None:
    """Collects garbage, and has the C library return what is free.

    What is left is not looked through again before the next file of tests, which would take longer than many of these
    files, unless the process has grown by much.
    """
    global _after_collection
    if resident_bytes() > max(_FREE_BYTES, _after_collection + _GROWTH_BYTES):
        gc.unfreeze()
        gc.collect()
        _trim()
        _after_collection = resident_bytes()
    gc.freeze()


def resident_bytes() -> int:
    """Returns how much memory this process has; 0 where the system does not say."""
    status = pathlib.Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def _trim() -> None:
    # The C library keeps what was freed between what was not, and TensorFlow frees much.
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass
