"""Keeps what TensorFlow's C++ writes to stderr while it starts, and that no setting turns off, off the screen."""

import contextlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType

# Lines that are written before TensorFlow reads TF_CPP_MIN_LOG_LEVEL: notes (I) and warnings (W), which it would leave
# out, and errors that are none.
_NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] "
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    rb"|To enable the following instructions: "
    rb"|.*Unable to register cu\w+ factory"
    rb"|.*computation[ _]placer already registered"
    # No driver, and no device: a CPU.
    rb"|.*failed call to cuInit: .*(\(303\)|CUDA_ERROR_NO_DEVICE)"
)
# Ends the filter, even if another process has the pipe too.
_END = b"\0"


def quiet_import(name: str, then: Callable[[ModuleType], None]) -> None:
    """Makes the first import of a package, whoever makes it, go through `without_noise`.

    Args:
      name: of the package; if it is imported already, nothing changes.
      then: called with the package, still without noise, once it is imported.
    """
    if name not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(name, then))


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Leaves known noise out of what is written to file descriptor 2, by C++ too; all else is passed on at once.

    A process of its own filters: what is written before a crash is shown as well. Where there is no stderr, or no
    process can be forked, everything is left as it is.
    """
    try:
        screen = os.dup(2)
    except OSError:
        screen = None
    if screen is None or not hasattr(os, "fork"):
        yield
        return
    _flush()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # Ctrl-C is for the process whose lines are still to come.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(writable)
            _pass_on(readable, screen)
        finally:
            os._exit(0)
    os.close(readable)
    os.dup2(writable, 2)
    os.close(writable)
    try:
        yield
    finally:
        _flush()
        with contextlib.suppress(OSError):
            os.write(2, _END)
        os.dup2(screen, 2)
        os.close(screen)
        os.waitpid(child, 0)


class _Finder:
    """Finds one package as Python does otherwise, and has it run without noise."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]):
        self._name = name
        self._then = then

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                with without_noise():
                    execute(module)
                    self._then(module)

            spec.loader.exec_module = execute_quietly
        return spec


def _pass_on(source: int, screen: int) -> None:
    """Copies lines that are no noise, from one file descriptor to another."""
    rest = b""
    while _END not in rest:
        got = os.read(source, 65536)
        *lines, rest = (rest + got).split(b"\n")
        for line in lines:
            if not _NOISE.match(line):
                _write(screen, line + b"\n")
        if not got:
            break
    rest = rest.split(_END)[0]
    if rest and not _NOISE.match(rest):
        _write(screen, rest)


def _write(screen: int, text: bytes) -> None:
    # Nobody may be there to read any more; the one who writes must not wait for that.
    with contextlib.suppress(OSError):
        os.write(screen, text)


def _flush() -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
