"""Programs that are interrupted, or whose output is no longer read, end without a traceback."""

import os
import signal
import subprocess
import sys

import pytest

from tests.runtime.test_environment import environment

PROGRAM = "from glow_tf.runtime import ending; import sys\nwith ending.without_traceback():\n    "


def begin(tmp_path, code, stdout=subprocess.PIPE):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code],
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, as these tests may be, ignore Ctrl-C, and so would the program.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


# Output is written at once, or on exit, or by a program that exits itself.
@pytest.mark.parametrize("end", ["print('b', flush=True)", "print('b')", "print('b'); sys.exit(0)"])
def test_a_reader_that_has_gone(tmp_path, end):
    with begin(tmp_path, f"print('a', flush=True); input(); {end}") as process:
        assert process.stdout.readline() == "a\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_kill(tmp_path, number):
    with begin(tmp_path, "ending.interrupt_on_sigterm(); print('a', flush=True); input()") as process:
        assert process.stdout.readline() == "a\n"
        process.send_signal(number)
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 128 + number


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no file that is always full")
def test_a_full_disk_is_one_line(tmp_path):
    with open("/dev/full", "w") as full, begin(tmp_path, "print('a')", full) as process:
        assert process.stderr.read() == "error: [Errno 28] No space left on device\n"
        assert process.wait(timeout=60) == 1


def test_a_program_without_output(tmp_path):
    code = "assert sys.stdout is None; print('a')"
    command = ["sh", "-c", '"$0" "$@" >&-', sys.executable, "-c", PROGRAM + code]
    done = subprocess.run(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
