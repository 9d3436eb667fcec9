"""Process of a peer: `python -m tools.peers.worker <peer> <Model as JSON>`.

It answers each line on stdin, the name of a workload, with a line of JSON on stdout: `result`, or `error` and
`out_of_memory`, whether it failed for lack of memory. The first line, sent without a request, lists the names of the
workloads. Two of them are reports: `memory` returns the peak number of bytes in use on the GPU since its last call,
`note` remarks on the workloads that ran. It ends when stdin does.
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

# Classes of Python, PyTorch and TensorFlow; by name, as a worker imports at most one framework.
_MEMORY_ERRORS = frozenset(("MemoryError", "OutOfMemoryError", "ResourceExhaustedError"))


def main() -> None:
    """Builds the peer named on the command line, and serves it."""
    name, arguments = sys.argv[1:]

    def build() -> Mapping[str, Callable[[], Any]]:
        module = name.lower().replace(".", "_")
        return importlib.import_module(f"tools.peers.{module}").build(Model(**json.loads(arguments)))

    serve(build)


def serve(build: Callable[[], Mapping[str, Callable[[], Any]]]) -> None:
    """Runs workloads as requested on stdin, until stdin ends.

    Args:
      build: returns the workloads by name, functions that return a JSON-serializable result when their work is done.
    """
    # Library output goes to stderr, and only answers go to the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(function: Callable[[], Any]) -> bool:
        try:
            content = {"result": function()}
        except Exception as error:
            text = " ".join(traceback.format_exception_only(error)[-1].split())
            content = {"error": text, "out_of_memory": is_out_of_memory(error)}
        print(json.dumps(content), file=answers, flush=True)
        return "result" in content

    functions: dict[str, Callable[[], Any]] = {}

    def names() -> list[str]:
        functions.update(build())
        return list(functions)

    # The requesting process may end before the answer.
    with contextlib.suppress(BrokenPipeError):
        if not answer(names):
            return
        for line in sys.stdin:
            answer(functools.partial(_run, functions, line.strip()))


def is_out_of_memory(error: BaseException | None) -> bool:
    """Returns whether an error, or one that caused it, was raised for lack of memory."""
    while error is not None:
        if any(kind.__name__ in _MEMORY_ERRORS for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def _run(functions: Mapping[str, Callable[[], Any]], name: str) -> Any:
    if name not in functions:
        raise ValueError(f"{name!r} is not one of {', '.join(functions)}.")
    return functions[name]()


if __name__ == "__main__":
    main()
