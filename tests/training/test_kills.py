"""A killed or stopped run continues as if nothing had happened: the same losses and weights, bit for bit."""

import collections
import pathlib
import random
import re
import shlex
import signal
import sys
import time

import pytest

from tests.training.processes import (
    QUICK,
    SHORT,
    TINY,
    Process,
    assert_same_run,
    begin_uninterrupted,
    checkpoint_steps,
    half_written,
    last_step,
    metrics,
    tensors,
    uninterrupted,
)

# A process makes at most about ten steps, or twenty if it ends in an evaluation.
LONG = (*TINY, "--steps=400", "--checkpoint_every=1", "--eval_every=20", "--sample_every=20")


class Killer:
    """Kills successive processes of the run in a model directory, and counts what it hit.

    Args:
      directory: the model directory.
      arguments: the flags.
    """

    def __init__(self, directory: pathlib.Path, arguments: tuple[str, ...]):
        self.directory, self._arguments = directory, arguments
        self._random = random.Random(1)
        self.kills: collections.Counter[str] = collections.Counter()
        self.lives_with_progress = self.writes_hit = 0
        self.stderr = ""

    def kill(self, aim: str) -> None:
        """Starts the run, kills it at a moment of the kind that `aim` names, and fails if it ends first."""
        before = max(checkpoint_steps(self.directory), default=-1)
        left_before = self._half_written()
        with Process(self.directory, self._arguments) as process:
            alive = getattr(self, f"_{aim}")(process)
            process.kill()
            self.stderr = process.stderr
            assert alive, f"the run ended before it could be killed:\n{self.stderr}"
        self.kills[aim] += 1
        self.lives_with_progress += max(checkpoint_steps(self.directory), default=-1) > before
        self.writes_hit += bool(self._half_written() - left_before)

    def _half_written(self) -> set[str]:
        return half_written(self.directory / "checkpoints") | half_written(self.directory / "best/checkpoints")

    def _start(self, process: Process) -> bool:
        """Waits for a while, or some steps if they are fast, after the first checkpoint is read or written."""
        alive = process.wait_until(lambda: re.search("Continuing at step|Initialising", process.stderr) is not None)
        time.sleep(self._random.uniform(0, 5))
        return alive

    def _moment(self, process: Process) -> bool:
        """Waits for some steps, for two checkpoints, so that one may be damaged, and for a while."""
        alive = process.wait_for_steps(self._random.randint(1, 4))
        alive = alive and process.wait_until(lambda: len(checkpoint_steps(self.directory)) > 1)
        time.sleep(self._random.uniform(0, 0.2))
        return alive

    def _write(self, process: Process) -> bool:
        """Waits for some steps, then until a checkpoint is being written."""
        alive = process.wait_for_steps(self._random.randint(1, 4))
        return alive and process.wait_until(lambda: bool(half_written(self.directory / "checkpoints")), every=0.0002)

    def _best(self, process: Process) -> bool:
        """Waits until the best weights are being written, in an evaluation that is not recorded yet."""
        folder = self.directory / "best/checkpoints"
        left = half_written(folder)
        return process.wait_until(lambda: bool(half_written(folder) - left), every=0.0002)

    def _evaluation(self, process: Process) -> bool:
        """Waits until a while after the samples, which an evaluation follows."""
        grids = set(self.directory.glob("samples/step_*.png"))
        alive = process.wait_until(lambda: bool(set(self.directory.glob("samples/step_*.png")) - grids))
        time.sleep(self._random.uniform(0, 3))
        return alive


def finish(directory: pathlib.Path, arguments: tuple[str, ...]) -> str:
    """Runs to the end and returns what was written to stderr."""
    with Process(directory, arguments) as process:
        assert process.end() == 0, process.stderr
        return process.stderr


def truncate_newest(directory: pathlib.Path) -> int:
    """Cuts the newest checkpoint's data in half, and returns its step."""
    step = checkpoint_steps(directory)[-1]
    (data,) = directory.glob(f"checkpoints/ckpt-{step}.data-*")
    with data.open("rb+") as file:
        file.truncate(data.stat().st_size // 2)
    return step


@pytest.mark.slow
def test_a_run_killed_three_times_and_damaged_once_ends_as_one_that_was_not(tmp_path):
    begin_uninterrupted(*SHORT)
    killer = Killer(tmp_path / "run", SHORT)
    killer.kill("moment")
    damaged = truncate_newest(killer.directory)
    killer.kill("evaluation")
    assert f"ckpt-{damaged} is damaged" in killer.stderr
    assert f"Continuing at step {damaged - 1} from" in killer.stderr
    killer.kill("write")
    finish(killer.directory, SHORT)
    assert killer.lives_with_progress >= 2
    assert_same_run(killer.directory, uninterrupted(*SHORT))


@pytest.mark.slow
def test_a_run_killed_two_dozen_times_ends_as_one_that_was_not(tmp_path):
    killer = Killer(tmp_path / "run", LONG)
    for aim in ("start", "moment", "write", "evaluation", "write", "best", "moment", "write") * 3:
        killer.kill(aim)
    finish(killer.directory, LONG)
    kills = killer.kills.total()
    print(f"{kills} kills {dict(killer.kills)}: {killer.writes_hit} hit a write, {killer.lives_with_progress} lives")
    assert kills >= 20
    assert killer.writes_hit >= 1
    assert killer.lives_with_progress > kills / 2
    assert_same_run(killer.directory, uninterrupted(*LONG))


# Regular checkpoints would hide whether a signal makes one.
NO_CHECKPOINTS = (*SHORT, "--checkpoint_every=1000")
STOPPED = re.compile(r"Stopped by (\w+) at step (\d+), whose checkpoint is written\. To go on: (.*)")
# The checkpoints that exist depend on when they were written.
CHECKPOINT_FILES = ("checkpoints/ckpt-",)


def command_to_go_on(process: Process, number: signal.Signals) -> list[str]:
    """Checks how a signal ended a run, and returns the command line that the run prints."""
    assert process.end() == 128 + number
    assert "Traceback" not in process.stderr
    name, step, command = STOPPED.fullmatch(process.stderr.splitlines()[-1]).groups()
    assert name == number.name
    # No logged step is missing from the checkpoint, and no step in the checkpoint from the log.
    assert checkpoint_steps(process.directory)[-1] == int(step) == last_step(process.directory)
    state = tensors(process.directory / f"checkpoints/ckpt-{step}")["run/step/.ATTRIBUTES/VARIABLE_VALUE"]
    assert state == b"int64 () " + int(step).to_bytes(8, sys.byteorder)
    python, *rest = shlex.split(command)
    assert python == "python"
    return [sys.executable, *rest]


@pytest.mark.slow
def test_a_run_that_is_stopped_and_then_killed_ends_as_one_that_was_not(tmp_path):
    begin_uninterrupted(*QUICK)
    # A name that a shell would split into two words is quoted.
    directory = tmp_path / "a run"
    with Process(directory, QUICK) as process:
        assert process.wait_for_steps(1), process.stderr
        process.send(signal.SIGTERM)
        command = command_to_go_on(process, signal.SIGTERM)
    stopped = last_step(directory)
    assert 0 < stopped < 40
    with Process(directory, command=command) as process:
        assert process.wait_for_steps(2), process.stderr
        process.kill()
        assert f"Continuing at step {stopped} from" in process.stderr
    assert stopped < last_step(directory) < 40
    finish(directory, QUICK)
    assert_same_run(directory, uninterrupted(*QUICK))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_says_how_to_go_on_and_does(tmp_path, number):
    begin_uninterrupted(*SHORT)
    # A name that a shell would split into two words is quoted.
    directory = tmp_path / "a run"
    with Process(directory, NO_CHECKPOINTS) as process:
        assert process.wait_for_steps(1), process.stderr
        process.send(number)
        command = command_to_go_on(process, number)
    assert 0 < last_step(directory) < 20
    with Process(directory, command=command) as process:
        assert process.end() == 0, process.stderr
    assert_same_run(directory, uninterrupted(*SHORT), apart_from=CHECKPOINT_FILES)


@pytest.mark.slow
def test_stopped_before_the_first_step(tmp_path):
    with Process(tmp_path / "run", NO_CHECKPOINTS) as process:
        assert process.wait_until(lambda: "Initialising" in process.stderr)
        process.send(signal.SIGTERM)
        command = command_to_go_on(process, signal.SIGTERM)
    assert checkpoint_steps(tmp_path / "run") == [0]
    with Process(tmp_path / "run", command=command) as process:
        assert process.end() == 0, process.stderr
        assert "Continuing at step 0" in process.stderr
    assert_same_run(tmp_path / "run", uninterrupted(*SHORT), apart_from=CHECKPOINT_FILES)


@pytest.mark.slow
@pytest.mark.parametrize("step", [10, 20])
def test_stopped_in_an_evaluation(tmp_path, step):
    # Evaluating one batch after the other takes long enough for a signal to arrive in between.
    directory = tmp_path / "run"
    with Process(directory, NO_CHECKPOINTS) as process:
        assert process.wait_until((directory / f"samples/step_{step:07d}.png").exists)
        process.send(signal.SIGTERM)
        command = command_to_go_on(process, signal.SIGTERM)
    assert last_step(directory) == step
    assert [line["step"] for line in metrics(directory, "test")] == [10] * (step == 20)
    with Process(directory, command=command) as process:
        assert process.end() == 0, process.stderr
    assert_same_run(directory, uninterrupted(*SHORT), apart_from=CHECKPOINT_FILES)


@pytest.mark.slow
def test_killed_before_the_list_of_checkpoints_was_written_for_the_last_time(tmp_path):
    directory = tmp_path / "run"
    finish(directory, SHORT)
    listed = directory / "checkpoints/checkpoint"
    text = listed.read_text()
    before = text.replace('model_checkpoint_path: "ckpt-20"', 'model_checkpoint_path: "ckpt-19"', 1)
    assert before != text
    listed.write_text(before)
    finish(directory, SHORT)
    assert_same_run(directory, uninterrupted(*SHORT))
