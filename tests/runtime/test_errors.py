"""Messages of errors, and conversion of TensorFlow's errors."""

import errno

import pytest
import tensorflow as tf

from glow_tf.runtime.errors import first_line, reraise_as_oserror


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("disk full", "disk full"),
        ("\n one\ntwo", "one"),
        ("{{function_node __wrapped__SaveV2}} No space left [Op:SaveV2]", "No space left"),
        ("x" * 1000, "x" * 300),
        ("", "ValueError"),
    ],
)
def test_the_first_line_alone(message, line):
    assert first_line(ValueError(message)) == line


@pytest.mark.parametrize(
    ("kind", "number"), [(tf.errors.ResourceExhaustedError, errno.ENOSPC), (tf.errors.PermissionDeniedError, errno.EIO)]
)
def test_errors_of_tensorflow_become_those_of_the_system(kind, number):
    with pytest.raises(OSError, match="runs/a cannot be written: no") as raised, reraise_as_oserror("runs/a"):
        raise kind(None, None, "no")
    assert raised.value.errno == number
