"""A script that leaves a stream of images open still ends."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.marks import slow

ROOT = pathlib.Path(__file__).parent.parent.parent
OPEN = "stream = iter(train_batches(load_source('people', image_size=8), 8, 0, flip=True))\n{indent}next(stream)\n"
SCRIPTS = {
    "at the end": (OPEN.format(indent=""), 0),
    "by an error": (f"def run():\n    {OPEN.format(indent='    ')}    raise KeyError('seen')\nrun()\n", 1),
}


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
