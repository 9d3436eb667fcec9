"""A peer's process: `python -m tools.peers.worker <peer> <Model as JSON>`.

It answers every line on stdin, the name of a workload, by a line of JSON on stdout: `result`, or `error`. The first
line, unasked, has the names of the workloads. It ends with its stdin.
"""

import contextlib
import functools
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping

from tools.peers.model import Model


def main() -> None:
    """Builds the peer that the command line names, and serves it."""
    name, arguments = sys.argv[1:]

    def build() -> Mapping[str, Callable[[], float]]:
        module = name.lower().replace(".", "_")
        return importlib.import_module(f"tools.peers.{module}").build(Model(**json.loads(arguments)))

    serve(build)


def serve(build: Callable[[], Mapping[str, Callable[[], float]]]) -> None:
    """Runs workloads as stdin asks for them, until it ends.

    Args:
      build: makes the workloads: functions by name, each of which returns when its work is done.
    """
    # What libraries print goes to stderr: nothing but answers reaches the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(function: Callable[[], object]) -> object:
        result = None
        try:
            result = function()
            content = {"result": list(result) if isinstance(result, Mapping) else result}
        except Exception as error:
            content = {"error": " ".join(traceback.format_exception_only(error)[-1].split())}
        print(json.dumps(content), file=answers, flush=True)
        return result

    # Who asked may be gone before the answer is there.
    with contextlib.suppress(BrokenPipeError):
        functions = answer(build)
        if functions is None:
            return
        for line in sys.stdin:
            answer(functools.partial(_run, functions, line.strip()))


def _run(functions: Mapping[str, Callable[[], float]], name: str) -> float:
    if name not in functions:
        raise ValueError(f"{name!r} is not one of {', '.join(functions)}.")
    return functions[name]()


if __name__ == "__main__":
    main()
