"""Filters start-up messages of TensorFlow's C++ code on stderr that no setting turns off."""

import contextlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType

# Lines written before TensorFlow reads TF_CPP_MIN_LOG_LEVEL: messages of the levels INFO (I) and WARNING (W), which it
# would turn off, and spurious errors.
_NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] "
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    rb"|To enable the following instructions: "
    rb"|.*Unable to register cu\w+ factory"
    rb"|.*computation[ _]placer already registered"
    # No driver or no device: a machine without a GPU.
    rb"|.*failed call to cuInit: .*(\(303\)|CUDA_ERROR_NO_DEVICE)"
)
# Ends the filter, even if another process holds the pipe open.
_END = b"\0"


def quiet_import(name: str, then: Callable[[ModuleType], None]) -> None:
    """Runs the first import of a package, wherever it happens, in `without_noise`.

    Args:
      name: name of the package; nothing happens if it is already imported.
      then: called with the imported package, still in `without_noise`.
    """
    if name not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(name, then))


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Filters known noise out of file descriptor 2, including that of C++ code; everything else is passed on at once.

    The filter is a separate process, so that messages before a crash are shown. Nothing is filtered if there is no
    stderr, or if processes cannot be forked.
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
            # Ctrl-C is for the filtered process, which may still write.
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
    """Import hook that finds one package as usual and runs its import in `without_noise`."""

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
    """Copies lines that are not noise from one file descriptor to another."""
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
    # The reader may be gone; the writer must not block.
    with contextlib.suppress(OSError):
        os.write(screen, text)


def _flush() -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
