"""Runs many command lines in one process, as TensorFlow takes seconds to start.

It is a separate process, as the flags of tools and of the training program share names, which absl allows only once per
process.
"""

import contextlib
import faulthandler
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import tensorflow as tf

TIMEOUT_S = 600
ROOT = pathlib.Path(__file__).parent.parent.parent
Result = tuple[int | str, str, str]


def run_commands(
    directory: pathlib.Path,
    commands: dict[str, list[str]],
    program: Sequence[str] = ("-m", "tests.commands.driver"),
) -> dict[str, Result]:
    """Runs commands, each the name of a tool followed by its arguments, one after the other in `directory`.

    Args:
      directory: the working directory.
      commands: the commands.
      program: arguments of Python, for a program that calls `main`.

    Returns:
      For each command, its exit code or the name of an absl error, and its output on stdout and stderr.
    """
    (directory / "commands.json").write_text(json.dumps(commands))
    done = subprocess.run(
        [sys.executable, *program, json.dumps(tf.config.optimizer.get_experimental_options())],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        timeout=TIMEOUT_S + 60,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: tuple(result) for name, result in json.loads((directory / "results.json").read_text()).items()}


def main() -> None:
    """Runs commands.json and writes results.json."""
    # Prints where a command hangs.
    faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
    from absl import flags
    from absl.testing import flagsaver

    from glow_tf.cli import COMMANDS
    from glow_tf.commands import command

    # The same options as in the test process.
    tf.config.optimizer.set_experimental_options(json.loads(sys.argv[1]))

    results = {}
    for name, (tool, *arguments) in json.loads(pathlib.Path("commands.json").read_text()).items():
        module = importlib.import_module(COMMANDS.get(tool, f"tools.{tool}"))
        saved = flagsaver.save_flag_values()
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                command.call(module.main, flags.FLAGS([tool, *arguments]))
            except SystemExit as stop:
                code = stop.code
            except flags.Error as error:
                code = type(error).__name__
        flagsaver.restore_flag_values(saved)
        results[name] = [code, out.getvalue(), err.getvalue()]
    pathlib.Path("results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
