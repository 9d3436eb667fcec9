"""The training program as a process that is killed, stopped or short of disk space, and what it leaves behind."""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

import tensorflow as tf

ROOT = pathlib.Path(__file__).parent.parent.parent
# Everything that must survive is switched on: augmentation, warm-up, evaluations, samples, averages (by default).
_TRAINING = (
    *("--image_size=8", "--batch_size=8", "--samples=4", "--flip", "--shift=1", "--warmup_steps=5", "--log_every=1"),
    "--noexport",
)
TINY = (*_TRAINING, "--K=1", "--L=2", "--width=8")
SHORT = (*TINY, "--steps=20", "--checkpoint_every=1", "--eval_every=10", "--sample_every=10")
# Starts in half the time.
QUICK = (
    *(*_TRAINING, "--model=nice", "--K=2", "--blocks=1", "--width=8", "--steps=40", "--checkpoint_every=1"),
    *("--eval_every=20", "--sample_every=20"),
)
# Seconds to wait for a process: a deadline for one that hangs, not a measure of speed.
_PATIENCE = 600.0
_OF_THE_CLOCK = ("time", "images_per_second")
_INDEX = re.compile(r"ckpt-(\d+)\.index")


class Process:
    """`glow train` in a model directory; killed on leaving `with`.

    Args:
      directory: the model directory.
      arguments: the flags.
      command: the whole command line in place of the flags.
      popen: arguments of `subprocess.Popen`.
    """

    def __init__(self, directory, arguments=(), *, command=None, **popen):
        self.directory = pathlib.Path(directory)
        default = [sys.executable, "-m", "glow_tf.main", f"--model_dir={directory}", *arguments]
        # TensorFlow leaves temporary files behind when it is killed.
        self._temporary = tempfile.TemporaryDirectory(prefix="glow_tf_")
        self._log = pathlib.Path(self._temporary.name) / "stderr"
        changed = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TMPDIR": self._temporary.name}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command or default, stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, **changed}, **popen
            )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        self._temporary.cleanup()

    @property
    def stderr(self) -> str:
        """The text written to stderr so far."""
        return self._log.read_text()

    def wait_until(self, condition: Callable[[], bool], *, every: float = 0.005) -> bool:
        """Polls until `condition` holds; returns False if the process ends first."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if self._process.poll() is not None:
                return condition()
            assert time.monotonic() < deadline, f"still waiting after {_PATIENCE:.0f} s:\n{self.stderr}"
            time.sleep(every)
        return True

    def wait_for_steps(self, count: int) -> bool:
        """Waits until this process has logged `count` steps; returns False if it ends first."""
        # Lines that an earlier process wrote after its last checkpoint are gone by then.
        if not self.wait_until(lambda: "Input pipeline alone" in self.stderr):
            return False
        begun = last_step(self.directory)
        return self.wait_until(lambda: last_step(self.directory) >= begun + count)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kills the process with SIGKILL, which it cannot catch."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Waits for the process to end, and returns its exit code, negative if a signal ended it."""
        return self._process.wait(timeout=_PATIENCE)


def metrics(directory: pathlib.Path, kind: str = "train") -> list[dict]:
    """Returns the complete lines of a kind in `metrics.jsonl`, without the values that depend on the clock."""
    file = directory / "metrics.jsonl"
    lines = []
    for line in file.read_text().splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    return [{k: v for k, v in line.items() if k not in _OF_THE_CLOCK} for line in lines if line["kind"] == kind]


def last_step(directory: pathlib.Path) -> int:
    """Returns the last step in `metrics.jsonl`, 0 if there is none."""
    return max((line["step"] for line in metrics(directory)), default=0)


def checkpoint_steps(directory: pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints whose files exist."""
    return sorted(int(match[1]) for match in map(_INDEX.fullmatch, _names(directory / "checkpoints")) if match)


def half_written(directory: pathlib.Path) -> set[str]:
    """Returns the names of incomplete checkpoints and their files in a directory of checkpoints."""
    names = [name for name in _names(directory) if not name.endswith(".damaged")]
    indices = {name.removesuffix(".index") for name in names if name.endswith(".index")}
    data = {name.partition(".data-")[0] for name in names if ".data-" in name}
    # The list of checkpoints is written last.
    listed = (directory / "checkpoint").read_text() if "checkpoint" in names else ""
    unlisted = {name for name in indices if f'"{name}"' not in listed}
    return {name for name in names if name.endswith("_temp") or ".tmp" in name} | (indices ^ data) | unlisted


def tensors(prefix: str | os.PathLike) -> dict[str, bytes]:
    """Returns dtype, shape and bytes of every tensor of a checkpoint, except the number of times it was written."""
    reader = tf.train.load_checkpoint(os.fspath(prefix))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("save_counter/")]
    values = {name: reader.get_tensor(name) for name in names if name != "_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert values
    return {name: f"{v.dtype} {v.shape} ".encode() + v.tobytes() for name, v in values.items()}


def files(directory: pathlib.Path) -> set[str]:
    """Returns all files except the lock, damaged checkpoints, and TensorBoard's events, which differ between processes.

    The lock of a directory is elsewhere if the directory is reached through another process's root, as `SmallDisk` is.
    """
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()} - {".lock"}
    return {name for name in found if not name.startswith("tensorboard/") and not name.endswith(".damaged")}


def assert_same_run(directory: pathlib.Path, expected: pathlib.Path, *, apart_from: Iterable[str] = ()) -> None:
    """Asserts that two runs left the same results, bit for bit.

    Args:
      directory: the model directory of the run.
      expected: the model directory of the other run.
      apart_from: parts of the names of files that may exist for only one of the runs.
    """

    def compared(directory):
        return sorted(name for name in files(directory) if not any(part in name for part in apart_from))

    for kind in ("train", "test"):
        assert metrics(directory, kind) == metrics(expected, kind), kind
    final = checkpoint_steps(expected)[-1]
    assert checkpoint_steps(directory)[-1] == final
    best = checkpoint_steps(expected / "best")
    assert checkpoint_steps(directory / "best") == best
    for prefix in (f"checkpoints/ckpt-{final}", f"best/checkpoints/ckpt-{best[-1]}"):
        here, there = tensors(directory / prefix), tensors(expected / prefix)
        assert here.keys() == there.keys(), prefix
        assert [name for name in there if here[name] != there[name]] == [], prefix
    assert compared(directory) == compared(expected), set(compared(directory)) ^ set(compared(expected))
    for name in compared(expected):
        if name.endswith(".png"):
            assert (directory / name).read_bytes() == (expected / name).read_bytes(), name


@functools.cache
def begin_uninterrupted(*arguments: str) -> Process:
    """Starts an undisturbed run with these flags, once for all tests, which do something else meanwhile."""
    parent = tempfile.TemporaryDirectory(prefix="glow_tf_")
    process = Process(pathlib.Path(parent.name) / "run", arguments)
    atexit.register(parent.cleanup)
    atexit.register(process.__exit__)
    return process


def uninterrupted(*arguments: str) -> pathlib.Path:
    """Returns the model directory of an undisturbed run with these flags."""
    process = begin_uninterrupted(*arguments)
    assert process.end() == 0, process.stderr
    return process.directory


def _names(directory: pathlib.Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
