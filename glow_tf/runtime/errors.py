"""Conversion of TensorFlow's errors."""

import contextlib
import errno
import os
from collections.abc import Iterator

import tensorflow as tf

_LONGEST = 300


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its type if it has none.

    Leaves out the lists of variables and values in TensorFlow's messages, and the names of operations around the text.
    """
    first, *_ = [*str(error).strip().splitlines(), ""]
    return first.rpartition("}} ")[2].partition(" [Op:")[0][:_LONGEST] or type(error).__name__


@contextlib.contextmanager
def reraise_as_oserror(path: str | os.PathLike) -> Iterator[None]:
    """Re-raises TensorFlow's errors in writing to `path` as the corresponding OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        number = errno.ENOSPC if isinstance(error, tf.errors.ResourceExhaustedError) else errno.EIO
        raise OSError(number, f"{path} cannot be written: {first_line(error)}") from error
