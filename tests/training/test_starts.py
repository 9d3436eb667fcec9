"""The start of a run, where a thread calls the train function during the initialisation, never crashes."""

import collections
import os
import subprocess
import sys

import pytest

from tests.training.processes import ROOT, TINY, Process

STARTS, COMMANDS = 300, 100
# A deadline for a process that hangs.
_SECONDS_A_START = 60


@pytest.mark.slow
@pytest.mark.timeout(2 * STARTS * _SECONDS_A_START)
def test_many_starts_in_one_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.starts", str(tmp_path), str(STARTS)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=STARTS * _SECONDS_A_START,
    )
    assert done.returncode == 0, f"{done.returncode} after {done.stdout.split()[-1:]} starts:\n{done.stderr[-5000:]}"
    assert done.stdout.split() == [str(number) for number in range(1, STARTS + 1)]


@pytest.mark.slow
@pytest.mark.timeout(2 * COMMANDS * _SECONDS_A_START)
def test_many_commands_in_a_row(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    ends, last_words = collections.Counter(), ""
    for number in range(COMMANDS):
        with Process(tmp_path / str(number), (*TINY, "--steps=2")) as process:
            code = process.end()
            last_words = process.stderr if code else last_words
        ends[code] += 1
    # Negative: the signal that ended a process.
    assert ends == {0: COMMANDS}, f"{dict(ends)}:\n{last_words[-5000:]}"
