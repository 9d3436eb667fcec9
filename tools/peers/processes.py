"""The peers as processes: each computes when it is asked to, and ends with the process that started it."""

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

# For each peer the packages it needs, its own first.
PACKAGES = {
    "tfb.Glow": ("tensorflow-probability", "tf_keras", "tensorflow"),
    "pytorch": ("torch",),
    "normflows": ("normflows", "torch"),
    "FrEIA": ("FrEIA", "torch"),
    "nflows": ("nflows", "torch"),
}
# In which a GPU multiplies for each peer, all others in TF32 alone.
_PRECISIONS = {"pytorch": ("tf32", "bfloat16")}
# What workers answer that is no workload: of the workload that ran last the peak of memory, and what is to be known.
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
    """Starts the peers that are installed, one after the other; they end on leaving `with`.

    Args:
      threads: number of threads of each; by default one for each core this process may use, as in TensorFlow.
      gpu: whether they compute on the first GPU, in TF32; `pytorch` then comes as "pytorch, bfloat16" too.
      names: of the peers to start.
      **sizes: of the model, those of `Sizes`.

    Returns:
      For each peer its workloads: functions that return when the work is done, `train` and `likelihood` bits/dim,
      `sample` the mean of the images; on a GPU the `REPORTS` too. And for each peer that is not installed, why.

    Raises:
      ValueError: for a peer or a size that cannot be.
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
    """The process of a peer that is installed, which begins to build the model.

    Raises:
      ValueError: for a peer that cannot be.
    """
    _known(name)
    command = [sys.executable, "-m", "tools.peers.worker", name, json.dumps(dataclasses.asdict(model))]
    return Worker(name, command, gpus=model.device == "cuda")


def version(title: str) -> str:
    """Returns the packages of an installed peer with their versions: "normflows 1.7.3, torch 2.13.0"."""
    return ", ".join(f"{package} {metadata.version(package)}" for package in _known(title.split(", ")[0]))


def missing(name: str) -> str:
    """Returns why a peer cannot be started, '' if it can.

    Raises:
      ValueError: for a peer that cannot be.
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
    """A workload needs more memory than there is."""


class Worker:
    """A process that runs `tools.peers.worker.serve`; killed on leaving `with`.

    Args:
      name: what to call it in errors.
      command: its command line.
      gpus: whether it sees GPUs.
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
        # There is nothing in it to save, and it may be in the middle of something long.
        with self._process, self._stderr:
            self._process.kill()

    def functions(self, timeout: float | None = None) -> Functions:
        """Waits until it is ready, and returns its workloads. Call it once; `timeout` is as for `run`."""
        return {workload: functools.partial(self.run, workload) for workload in self._answer("its start", timeout)}

    def run(self, workload: str, timeout: float | None = None) -> Any:
        """Runs a workload to its end, and returns its result.

        Args:
          workload: its name.
          timeout: seconds after which the process is killed; by default none.

        Raises:
          OutOfMemoryError: if it fails for lack of memory.
          ChildProcessError: if it fails otherwise, the process has ended, or the time is over.
        """
        # A process that has ended reads nothing; what became of it, the answer tells.
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
