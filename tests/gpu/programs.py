"""Programs started as by a user, in processes that see the GPU and none of the settings of the tests."""

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence

from tests.training import processes

# Log messages of TensorFlow.
NOISE = re.compile(r"\.(cc|h|py):\d+|InitializeLog|WARNING")
# Variables that programs set themselves, and that tests/conftest.py or whoever runs the tests may have set.
_OURS = ("TF_CPP_MIN_LOG_LEVEL", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE")
_PATIENCE = 240.0


def begin(command: Sequence[str], cwd: pathlib.Path, **others: str) -> subprocess.Popen:
    """Starts Python with the arguments `command` in the directory `cwd`, with `others` added to its environment."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(processes.ROOT), **others},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen) -> tuple[str, str]:
    """Returns the stdout and stderr of a process; the test fails if it does not succeed in time."""
    try:
        out, err = process.communicate(timeout=_PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err[-3000:]
    return out, err


class Training(processes.Process):
    """`glow train` on the GPU, which the base class hides.

    Args:
      directory: the model directory.
      command: arguments of Python.
    """

    def __init__(self, directory: pathlib.Path, command: Sequence[str]):
        unset = [argument for name in (*_OURS, "CUDA_VISIBLE_DEVICES") for argument in ("-u", name)]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        restored = [] if visible is None else [f"CUDA_VISIBLE_DEVICES={visible}"]
        # `env` replaces itself by the program, which therefore receives the signals.
        super().__init__(directory, command=["env", *unset, *restored, sys.executable, *command])
