"""Scripts that leave a stream of images open still end, and errors in Python functions keep their message."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.data.python_calls import cause_of, numpy_function
from tests.marks import slow

ROOT = pathlib.Path(__file__).parent.parent.parent
OPEN = "stream = iter(train_batches(load_source('people', image_size=8), 8, 0, flip=True))\n{indent}next(stream)\n"
SCRIPTS = {
    "at the end": (OPEN.format(indent=""), 0),
    "by an error": (f"def run():\n    {OPEN.format(indent='    ')}    raise KeyError('seen')\nrun()\n", 1),
}


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (OSError("row 3 is gone"), "row 3 is gone"),
        (ValueError("row 3 is gone"), "row 3 is gone"),
        (KeyError(3), "KeyError: 3"),
        (IndexError(), "IndexError"),
    ],
)
def test_the_cause_of_an_error_is_the_exception(raised, cause):
    def read(index):
        if index == 3:
            raise raised
        return np.int64(index)

    rows = tf.data.Dataset.range(5).map(lambda index: numpy_function(read, [index], tf.int64), num_parallel_calls=2)
    with pytest.raises(tf.errors.OpError) as error:
        list(rows)
    assert cause_of(error.value) == cause
    # Its message alone, the digit 3, is in many others.
    assert cause_of(tf.errors.InternalError(None, None, "level 3: 0 of 3")) is None


def test_an_error_of_tensorflow_itself_has_no_cause_in_python():
    with pytest.raises(tf.errors.OpError) as error:
        tf.linalg.inv(tf.zeros([2, 2]))
    assert cause_of(error.value) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [slow("at the end"), "by an error"])
def test_a_process_ends_with_its_stream_open(name):
    """Most such processes would hang if they did not wait for the pipeline's threads."""
    script, code = SCRIPTS[name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", f"from glow_tf.data import load_source, train_batches\n{script}"]
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=100)
            assert process.returncode == code, errors.decode()[-2000:]
            assert (b"KeyError: 'seen'" in errors) == bool(code)
    finally:
        for process in processes:
            process.kill()
