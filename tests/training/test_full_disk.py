"""A full disk is one clear error; earlier checkpoints stay, and the run continues once there is space."""

import contextlib
import pathlib
import resource
import shutil
import signal
import subprocess

import pytest

from tests.training.processes import (
    QUICK,
    SHORT,
    Process,
    assert_same_run,
    begin_uninterrupted,
    checkpoint_steps,
    files,
    metrics,
    uninterrupted,
)

# These differ if checkpoints are written at other steps, or more of them are kept.
CHECKPOINT_FILES = ("checkpoints/ckpt-",)


class SmallDisk:
    """An in-memory file system of `size` bytes, mounted while it is entered, and accessible through `path`.

    A helper process mounts it in a namespace of its own, which needs no privileges, and keeps it there.
    """

    def __init__(self, directory: pathlib.Path, size: int):
        mount = 'mount -t tmpfs -o "size=$1" tmpfs "$0" && echo mounted && exec cat'
        self._keeper = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(directory), str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # What the keeper sees at `directory`.
        self.path = pathlib.Path(f"/proc/{self._keeper.pid}/root{directory}")
        self._filler = self.path / "filler"

    def __enter__(self) -> "SmallDisk":
        if self._keeper.stdout.readline() != "mounted\n":
            self.__exit__()
            pytest.skip(f"no file system can be mounted here: {self._keeper.stderr.read().strip()}")
        return self

    def __exit__(self, *_) -> None:
        self._keeper.stdin.close()
        self._keeper.wait()

    def fill(self, left: int = 0) -> None:
        """Fills the disk except for `left` bytes; a file takes a multiple of 4,096."""
        with self._filler.open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            file.truncate(file.tell() - left)

    def make_room(self) -> None:
        """Undoes `fill`."""
        self._filler.unlink()


def assert_one_clear_error(process: Process, what: str = "cannot be written to") -> None:
    """Asserts that a process ends with one line that says what is wrong, where, and what is left."""
    assert process.end() == 1
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in process.stderr
    assert process.stderr.endswith(f"{line}\n")
    assert what in line
    assert str(process.directory) in line
    left = checkpoint_steps(process.directory)
    rest = f"The checkpoint of step {left[-1]:,} is untouched." if left else "There is no checkpoint before it."
    assert rest in line
    assert "Make room and run the same command again." in line
    names = [name for name in files(process.directory) if name.startswith("checkpoints/")]
    assert [name for name in names if "_temp" in name or ".tmp" in name] == []


def finish(directory: pathlib.Path, arguments: tuple[str, ...]) -> str:
    """Runs to the end and returns what was written to stderr."""
    with Process(directory, arguments) as process:
        assert process.end() == 0, process.stderr
        return process.stderr


@pytest.mark.slow
def test_the_first_checkpoint_does_not_fit(tmp_path):
    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (32768, 32768))

    with Process(tmp_path / "run", QUICK, preexec_fn=limit_files) as process:
        assert_one_clear_error(process, "File too large")
    assert checkpoint_steps(tmp_path / "run") == []


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit(tmp_path):
    begin_uninterrupted(*SHORT)
    directory = tmp_path / "run"
    with Process(directory, SHORT) as process:
        assert process.wait_for_steps(1), process.stderr
        process.send(signal.SIGTERM)
        assert process.end() == 143
    step = checkpoint_steps(directory)[-1]
    (data,) = directory.glob(f"checkpoints/ckpt-{step}.data-*")
    contents = data.read_bytes()
    half = len(contents) // 2

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))

    with Process(directory, SHORT, preexec_fn=limit_files) as process:
        assert_one_clear_error(process, "File too large")
    assert checkpoint_steps(directory)[-1] == step
    assert data.read_bytes() == contents
    assert f"Continuing at step {step} from" in finish(directory, SHORT)
    assert_same_run(directory, uninterrupted(*SHORT))


@pytest.mark.slow
def test_a_disk_that_fills_up(tmp_path):
    begin_uninterrupted(*SHORT)
    # Checkpoints of some 140 kB, all of which are kept.
    kept = (*SHORT, "--keep_checkpoints=100")
    with SmallDisk(tmp_path, 2**20) as disk:
        with Process(disk.path / "run", kept) as process:
            assert_one_clear_error(process, "No space left on device")
        steps = checkpoint_steps(disk.path / "run")
        assert 2 <= len(steps) < 20
        shutil.copytree(disk.path / "run", tmp_path / "copy")
    assert f"Continuing at step {steps[-1]} from" in finish(tmp_path / "copy", SHORT)
    assert_same_run(tmp_path / "copy", uninterrupted(*SHORT), apart_from=CHECKPOINT_FILES)


def _there(name: str):
    return lambda directory: (directory / name).exists()


# When the disk fills up, and how many bytes are left, which suffice for some small files before a large one.
MOMENTS = {
    "before anything is written": (lambda directory: True, 0),
    "before the first step": (_there("training.json"), 0),
    "between two checkpoints": (_there("checkpoints/ckpt-2.index"), 0),
    "before an evaluation": (_there("samples/step_0000010.png"), 0),
    "before the best weights": (_there("samples/step_0000010.png"), 16384),
    "before the last samples": (_there("checkpoints/ckpt-20.index"), 0),
}


def _is_evaluated(directory):
    return [line["step"] for line in metrics(directory, "test")] == [10, 20]


@contextlib.contextmanager
def finished_after_a_full_disk(tmp_path, arguments, is_there, left):
    """Fills the disk up to `left` bytes at a moment of a run, makes room again, and yields the finished directory."""
    begin_uninterrupted(*SHORT)
    with SmallDisk(tmp_path, 32 * 2**20) as disk:
        directory = disk.path / "run"
        with Process(directory, arguments) as process:
            assert process.wait_until(lambda: is_there(directory), every=0.0005), process.stderr
            disk.fill(left)
            assert_one_clear_error(process)
        disk.make_room()
        finish(directory, arguments)
        yield directory


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_is_full(tmp_path, moment):
    with finished_after_a_full_disk(tmp_path, SHORT, *MOMENTS[moment]) as directory:
        assert_same_run(directory, uninterrupted(*SHORT))


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 65536])
def test_a_disk_that_is_full_before_or_in_the_export(tmp_path, left):
    with finished_after_a_full_disk(tmp_path, (*SHORT, "--export"), _is_evaluated, left) as directory:
        assert (directory / "saved_model" / "saved_model.pb").is_file()
        assert_same_run(directory, uninterrupted(*SHORT), apart_from=("saved_model/",))
