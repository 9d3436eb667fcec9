"""The prepared environment of a program, as a user sees it."""

import os
import pathlib
import pty
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
VARIABLES = ("TF_CPP_MIN_LOG_LEVEL", "TF_FORCE_GPU_ALLOW_GROWTH")
PROGRAM = "from glow_tf.runtime import environment; environment.prepare(); import tensorflow as tf; "
# Stands in for TensorFlow: it is quick, and writes what TensorFlow writes on other machines.
PACKAGE = """
import os, sys, types, warnings
config = types.SimpleNamespace(list_physical_devices=lambda kind: [])
def write(text):
    os.write(2, text.encode())
"""
NOISE = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795838515.814134    2379 cudart_stub.cc:31] Could not find cuda drivers on your machine.
E0000 00:00:1795838515.814134    2379 cuda_fft.cc:477] Unable to register cuFFT factory: one has already been registered
W0000 00:00:1795838515.814134 2379 computation_placer.cc:177] computation placer already registered.
E0000 00:00:1795838521.800086    2379 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)
2026-01-02 03:04:05.678901: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
"""


def environment(tmp_path, **others):
    """Returns the environment of a user who has set none of `VARIABLES`."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    return {
        **kept,
        "PYTHONPATH": paths,
        "CUDA_VISIBLE_DEVICES": "",
        **others,
    }


def run(tmp_path, *arguments, **others):
    command = [sys.executable, *map(str, arguments)]
    env = environment(tmp_path, **others)
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120)


def program(tmp_path, package, then="", **others):
    """Runs a program whose TensorFlow is `package`."""
    (tmp_path / "tensorflow.py").write_text(PACKAGE + package)
    return run(tmp_path, "-c", PROGRAM + then, **others)


def test_noise_is_left_out(tmp_path):
    done = program(tmp_path, f"write({NOISE!r})", "print('ran')")
    assert (done.stdout, done.stderr, done.returncode) == ("ran\n", "", 0)


def test_all_else_is_shown_in_order(tmp_path):
    package = f"write({NOISE!r} + 'E0000 00:00:1.2 34 gpu.cc:5] broken\\n')\nwarnings.warn('old')\nwrite('no newline')"
    done = program(tmp_path, package, "import sys; print('!', file=sys.stderr)")
    assert re.fullmatch(r"E0000 .*\] broken\n.*: UserWarning: old\n.*\nno newline!\n", done.stderr)


def test_an_error_comes_with_what_was_written_before_it(tmp_path):
    done = program(tmp_path, f"write({NOISE!r} + 'look\\n')\nraise ImportError('no library')")
    assert done.returncode == 1
    assert done.stderr.startswith("look\nTraceback")
    assert done.stderr.endswith("ImportError: no library\n")


def test_last_words_before_a_crash_are_shown(tmp_path):
    done = program(tmp_path, f"write({NOISE!r} + 'F0000 00:00:1.2 34 cpu.cc:5] needs AVX\\n')\nos.abort()")
    assert done.returncode < 0
    assert "needs AVX" in done.stderr
    assert "cudart_stub" not in done.stderr


def test_a_process_that_lives_on_with_the_same_stderr_holds_nothing_up(tmp_path):
    package = "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)"
    done = program(tmp_path, package, "tf.child.communicate(b'done'); print('ran')")
    assert (done.stdout, done.stderr) == ("ran\n", "")


def test_without_stderr(tmp_path):
    (tmp_path / "tensorflow.py").write_text(PACKAGE + "print('ran')")
    command = f'"{sys.executable}" -c "{PROGRAM}" 2>&-'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment(tmp_path), timeout=60)
    assert (done.stdout, done.returncode) == ("ran\n", 0)


def test_a_terminal_stays_one(tmp_path):
    (tmp_path / "tensorflow.py").write_text(PACKAGE + f"write({NOISE!r})")
    master, slave = pty.openpty()
    code = PROGRAM + "import sys; print(sys.stderr.isatty())"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=slave, env=environment(tmp_path), timeout=60
    )
    os.write(slave, b"end")
    shown = os.read(master, 10000)
    os.close(master)
    os.close(slave)
    assert (done.stdout, shown) == (b"True\n", b"end")


def test_to_prepare_twice_changes_nothing(tmp_path):
    show = f"import os; print([os.environ[n] for n in {VARIABLES}]); "
    done = program(tmp_path, f"write({NOISE!r} + 'once\\n')", f"{show} environment.prepare(); {show}")
    first, second = done.stdout.splitlines()
    assert first == second
    assert done.stderr == "once\n"


def test_what_the_user_has_set_stays(tmp_path):
    own = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_FORCE_GPU_ALLOW_GROWTH": "false"}
    done = program(
        tmp_path, f"write({NOISE!r})", f"import os; print({own} == {{n: os.environ[n] for n in {own}}})", **own
    )
    assert done.stdout == "True\n"
    assert done.stderr == NOISE


@pytest.mark.parametrize("module", ["glow_tf.main", "tools.sample", "glow_tf"])
def test_only_programs_prepare(tmp_path, module):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('stop here')")
    code = f"import os, contextlib\nwith contextlib.suppress(ImportError):\n  import {module}\nprint(*os.environ)"
    done = run(tmp_path, "-c", code)
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in done.stdout
    assert done.stderr == ""
