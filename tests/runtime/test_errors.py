"""Messages of errors, and conversion of TensorFlow's errors."""

import errno

import pytest
import tensorflow as tf

from glow_tf.runtime.errors import first_line, is_out_of_memory, reraise_as_oserror, system_error


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("disk full", "disk full"),
        ("\n one\ntwo", "one"),
        ("{{function_node __wrapped__SaveV2}} No space left [Op:SaveV2]", "No space left"),
        ("x" * 1000, "x" * 300),
        ("", "ValueError"),
        ("Failed copying input tensor\nDst tensor is not initialized.", "the memory of the device is full"),
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


# As TensorFlow words them.
FULL_DISK = tf.errors.ResourceExhaustedError(None, None, "/a/ckpt-1.data; No space left on device")
FULL_MEMORY = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9] and type float")
FULL_GPU = tf.errors.InternalError(None, None, "Failed copying input tensor: Dst tensor is not initialized.")


def test_a_full_disk_is_no_lack_of_memory():
    assert [is_out_of_memory(error) for error in (FULL_MEMORY, FULL_GPU, MemoryError())] == [True] * 3
    others = (FULL_DISK, tf.errors.InternalError(None, None, "no"), OSError(errno.ENOSPC, "no"))
    assert [is_out_of_memory(error) for error in others] == [False] * 3


def test_the_error_of_the_system(tmp_path):
    with pytest.raises(tf.errors.OpError) as raised:
        tf.io.read_file(str(tmp_path))
    assert system_error(raised.value) == errno.EISDIR
    assert system_error(FULL_DISK) == errno.ENOSPC
    assert system_error(FULL_MEMORY) is None
