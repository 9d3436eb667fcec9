"""Freeing of memory between test files."""

import ctypes
import gc
import pathlib

# A full garbage collection takes place if the process is larger than the first, and has grown by more than the second
# since the previous one.
_FREE_BYTES = 1.5 * 2**30
_GROWTH_BYTES = 0.25 * 2**30
_after_collection = 0.0


def give_back() -> None:
    """Collects garbage and returns free memory to the system, if the process has grown by much.

    What is left is frozen: collecting it again before each test file would take longer than many of these files.
    """
    global _after_collection
    if resident_bytes() > max(_FREE_BYTES, _after_collection + _GROWTH_BYTES):
        gc.unfreeze()
        gc.collect()
        _trim()
        _after_collection = resident_bytes()
    gc.freeze()


def resident_bytes() -> int:
    """Returns the resident memory of this process in bytes; 0 if the system does not report it."""
    status = pathlib.Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def _trim() -> None:
    # The C library keeps freed memory that lies between allocated blocks, and TensorFlow frees much.
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass
