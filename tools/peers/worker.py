"""A peer's process: `python -m tools.peers.worker <peer> <Model as JSON>`.

It answers every line on stdin, the name of a workload, by a line of JSON on stdout: `result`, or `error`. The first
line, unasked, has the names of the workloads. Two of them are reports: `memory` returns the most bytes that were in use
on the GPU since it was last called, `note` what is to be known of the workloads that ran. It ends with its stdin.
"""

import contextlib
import functools
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from tools.peers.model import Model


def main() -> None:
    """Builds the peer that the command line names, and serves it."""
    name, arguments = sys.argv[1:]

    def build() -> Mapping[str, Callable[[], Any]]:
        module = name.lower().replace(".", "_")
        return importlib.import_module(f"tools.peers.{module}").build(Model(**json.loads(arguments)))

    serve(build)


def serve(build: Callable[[], Mapping[str, Callable[[], Any]]]) -> None:
    """Runs workloads as stdin asks for them, until it ends.

    Args:
      build: makes the workloads: functions by name, each of which returns when its work is done, and what it returns
        JSON can hold.
    """
    # What libraries print goes to stderr: nothing but answers reaches the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(function: Callable[[], Any]) -> bool:
        try:
            content = {"result": function()}
        except Exception as error:
            content = {"error": " ".join(traceback.format_exception_only(error)[-1].split())}
        print(json.dumps(content), file=answers, flush=True)
        return "result" in content

    functions: dict[str, Callable[[], Any]] = {}

    def names() -> list[str]:
        functions.update(build())
        return list(functions)

    # Who asked may be gone before the answer is there.
    with contextlib.suppress(BrokenPipeError):
        if not answer(names):
            return
        for line in sys.stdin:
            answer(functools.partial(_run, functions, line.strip()))


def _run(functions: Mapping[str, Callable[[], Any]], name: str) -> Any:
    if name not in functions:
        raise ValueError(f"{name!r} is not one of {', '.join(functions)}.")
    return functions[name]()


if __name__ == "__main__":
    main()
