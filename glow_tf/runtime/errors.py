"""Conversion of TensorFlow's errors."""

import contextlib
import errno
import os
from collections.abc import Iterator

import tensorflow as tf

_LONGEST = 300
# All that TensorFlow says in an InternalError if the memory of a GPU is full.
_NO_DEVICE_MEMORY = "Dst tensor is not initialized"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its type if it has none.

    Leaves out the lists of variables and values in TensorFlow's messages, and the names of operations around the text.
    """
    if _NO_DEVICE_MEMORY in str(error):
        return "the memory of the device is full"
    first, *_ = [*str(error).strip().splitlines(), ""]
    return first.rpartition("}} ")[2].partition(" [Op:")[0][:_LONGEST] or type(error).__name__


def system_error(error: BaseException) -> int | None:
    """Returns the `errno` of the system's error in a message such as `a; File exists`, or None if there is none."""
    text = str(error)
    return next((number for number in errno.errorcode if f"; {os.strerror(number)}" in text), None)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error was raised because the memory of the machine or of a GPU is full."""
    if isinstance(error, tf.errors.InternalError):
        return _NO_DEVICE_MEMORY in str(error)
    # TensorFlow raises the same for a full disk.
    exhausted = isinstance(error, tf.errors.ResourceExhaustedError) and system_error(error) in (None, errno.ENOMEM)
    return exhausted or isinstance(error, MemoryError)


@contextlib.contextmanager
def reraise_as_oserror(path: str | os.PathLike) -> Iterator[None]:
    """Re-raises TensorFlow's errors in writing to `path` as the corresponding OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        number = errno.ENOSPC if isinstance(error, tf.errors.ResourceExhaustedError) else errno.EIO
        raise OSError(number, f"{path} cannot be written: {first_line(error)}") from error
