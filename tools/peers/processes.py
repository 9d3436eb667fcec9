"""Processes that run the peers; they compute on request and end with the process that started them."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any

from glow_tf.runtime.cores import cores
from tools.peers.model import Model

# Packages of each peer, its own first.
PACKAGES = {
    "tfb.Glow": ("tensorflow-probability", "tf_keras", "tensorflow"),
    "pytorch": ("torch",),
    "normflows": ("normflows", "torch"),
    "FrEIA": ("FrEIA", "torch"),
    "nflows": ("nflows", "torch"),
}
# Precisions of a peer on a GPU; peers not listed use only TF32.
_PRECISIONS = {"pytorch": ("tf32", "bfloat16")}
# Reports of workers on the workloads that ran: their peak memory, and a note.
REPORTS = ("memory", "note")
_ROOT = pathlib.Path(__file__).parent.parent.parent

Functions = dict[str, Callable[[], Any]]


@contextlib.contextmanager
def start(
    *,
    threads: int | None = None,
    gpu: bool = False,
    names: Iterable[str] = tuple(PACKAGES),
    **sizes: int,
) -> Iterator[tuple[dict[str, Functions], dict[str, str]]]:
    """Starts the installed peers one after the other; they end on leaving `with`.

    Args:
      threads: number of threads of each; by default one for each core this process may use, as in TensorFlow.
      gpu: whether they compute on the first GPU, in TF32; `pytorch` is then also started as "pytorch, bfloat16".
      names: names of the peers to start.
      **sizes: sizes of the model, as in `Sizes`.

    Yields:
      The workloads of each peer, functions that return when their work is done: `train` and `likelihood` return
      bits/dim, `sample` the mean of the images; on a GPU also the `REPORTS`. And, for each peer that is not installed,
      what is missing.

    Raises:
      ValueError: for an unknown peer or an impossible size.
      ChildProcessError: if a peer fails, at its start or in a workload.
    """
    names = list(names)
    absent = {name: reason for name in names if (reason := missing(name))}
    model = Model(**sizes, threads=threads or cores())
    with contextlib.ExitStack() as stack:
        functions = {}
        for name in names:
            for precision in _PRECISIONS.get(name, ("tf32",)) if gpu else ("float32",):
                if name not in absent:
                    peer = dataclasses.replace(model, device="cuda" if gpu else "cpu", precision=precision)
                    title = f"{name}, {precision}" if precision == "bfloat16" else name
                    functions[title] = stack.enter_context(launch(name, peer)).functions()
        yield functions, absent


def launch(name: str, model: Model) -> "Worker":
    """Starts the process of an installed peer, which builds the model.

    Raises:
      ValueError: for an unknown peer.
    """
    _known(name)
    command = [sys.executable, "-m", "tools.peers.worker", name, json.dumps(dataclasses.asdict(model))]
    return Worker(name, command, gpus=model.device == "cuda")


def version(title: str) -> str:
    """Returns the packages of an installed peer with their versions: "normflows 1.7.3, torch 2.13.0"."""
    return ", ".join(f"{package} {metadata.version(package)}" for package in _known(title.split(", ")[0]))


def missing(name: str) -> str:
    """Returns why a peer cannot be started, or '' if it can.

    Raises:
      ValueError: for an unknown peer.
    """
    absent = []
    for package in _known(name):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            absent.append(package)
    if not absent:
        return ""
    return f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed: pip install {' '.join(absent)}"


class OutOfMemoryError(ChildProcessError):
    """A workload failed for lack of memory."""


class Worker:
    """A process that runs `tools.peers.worker.serve`; killed on leaving `with`.

    Args:
      name: name in errors.
      command: command line.
      gpus: whether GPUs are visible to it.
    """

    def __init__(self, name: str, command: list[str], *, gpus: bool = False):
        self._name = name
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            cwd=_ROOT,
            env=_environment(gpus),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        # It has nothing to save, and may be busy for a long time.
        with self._process, self._stderr:
            self._process.kill()

    def functions(self, timeout: float | None = None) -> Functions:
        """Waits until the process is ready, and returns its workloads. Call it once; `timeout` is as for `run`."""
        return {workload: functools.partial(self.run, workload) for workload in self._answer("its start", timeout)}

    def run(self, workload: str, timeout: float | None = None) -> Any:
        """Runs a workload and returns its result.

        Args:
          workload: name of the workload.
          timeout: seconds after which the process is killed; None for no limit.

        Raises:
          OutOfMemoryError: if it fails for lack of memory.
          ChildProcessError: if it fails otherwise, the process has ended, or the timeout expires.
        """
        # If the process has ended, `_answer` reports how.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{workload}\n".encode())
        return self._answer(workload, timeout)

    def _answer(self, doing: str, timeout: float | None) -> Any:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(timeout or 0, stop)
        timer.daemon = True
        if timeout is not None:
            timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line and late.is_set():
            raise ChildProcessError(f"{self._name} took more than {timeout:.0f} s in {doing}.")
        if not line:
            raise ChildProcessError(f"{self._name} {_end(self._process.wait())} in {doing}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            kind = OutOfMemoryError if answer["out_of_memory"] else ChildProcessError
            raise kind(f"{self._name} failed in {doing}: {answer['error']}")
        return answer["result"]

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing to stderr."


def _known(name: str) -> tuple[str, ...]:
    if name not in PACKAGES:
        raise ValueError(f"{name!r} is not a peer; there are {', '.join(PACKAGES)}.")
    return PACKAGES[name]


def _environment(gpus: bool) -> dict[str, str]:
    return {**os.environ, **({} if gpus else {"CUDA_VISIBLE_DEVICES": ""})}


def _end(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
