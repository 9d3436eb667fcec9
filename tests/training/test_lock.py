"""One run at a time in a model directory."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys

import pytest

from glow_tf.training import lock
from tests.training.processes import ROOT

HOLD = """
import pathlib, sys
from glow_tf.training import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path / "run"."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_has_it(tmp_path, holder):
    with pytest.raises(lock.DirectoryInUseError, match=f"in use by process {holder.pid} on .*, since 20.*--model_dir"):
        with lock.held(tmp_path / "run"):
            pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_nothing(tmp_path, holder, number):
    holder.send_signal(number)
    holder.wait()
    with lock.held(tmp_path / "run"):
        pass


def test_it_can_be_had_again_and_again(tmp_path):
    for _ in range(3):
        with pytest.raises(RuntimeError):
            with lock.held(tmp_path / "run"):
                with pytest.raises(lock.DirectoryInUseError):
                    with lock.held(tmp_path / "run"):
                        pass
                raise RuntimeError
    with lock.held(tmp_path / "other"):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_file_system_without_locks_nothing_is_locked(tmp_path, monkeypatch, code):
    if code != errno.ENOSYS and not lock._HAS_FALLBACK:
        pytest.skip("this version of filelock does not tell other errors from a lock that is held")

    def flock(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.held(tmp_path):
        # A file would stay if the process was killed here.
        left = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        with lock.held(tmp_path):
            pass
    assert set(left.values()) <= {b""} and left.keys() <= {".lock"}
    with pytest.raises(RuntimeError, match="^of the run$"), lock.held(tmp_path):
        raise RuntimeError("of the run")


@pytest.mark.slow
def test_a_second_run_is_refused_and_corrupts_nothing(tmp_path, holder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    flags = [
        "--image_size=8",
        "--K=1",
        "--L=1",
        "--width=4",
        "--batch_size=8",
        "--steps=2",
        f"--model_dir={tmp_path / 'run'}",
    ]
    command = [sys.executable, "-m", "glow_tf.main", *flags]
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 1
    assert re.search(rf"^error: .* is in use by process {holder.pid} on ", done.stderr, re.MULTILINE), done.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
