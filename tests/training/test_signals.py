"""Signals that end a run: the first is noted, and the second acts as before."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from glow_tf.training.signals import StopSignals, TrainingStopped

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def caught():
    """Handlers of the test, which record the signals that reach them."""
    seen = []
    before = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in BOTH}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers():
    return [signal.getsignal(number) for number in BOTH]


@pytest.mark.parametrize("number", BOTH)
def test_the_first_is_noted_and_the_second_acts_as_before(caught, number):
    before = handlers()
    with StopSignals() as signals:
        assert signals.received is None
        signal.raise_signal(number)
        assert (signals.received, caught) == (number, [])
        assert signals.received.name in ("SIGTERM", "SIGINT")
        signal.raise_signal(number)
        assert caught == [number]
    assert handlers() == before


def test_the_second_may_be_another(caught):
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert (signals.received, caught) == (signal.SIGTERM, [signal.SIGINT])


def test_handlers_return_whatever_happens(caught):
    before = handlers()
    with StopSignals():
        assert handlers() != before
    assert handlers() == before
    with pytest.raises(RuntimeError), StopSignals():
        raise RuntimeError
    assert handlers() == before


def test_ctrl_c_twice_interrupts():
    """With Python's own handler, as in a program."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.received == signal.SIGINT
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


# A program that notes a first signal, says so, and then is in a C call that never returns to Python.
STUCK = """
import collections, itertools, signal, sys
from glow_tf.training.signals import StopSignals

def stuck():
    with StopSignals() as signals:
        signal.raise_signal(NUMBER)
        assert signals.received == NUMBER
        print("noted", flush=True)
        collections.deque(itertools.repeat(0), maxlen=0)
"""
ALONE = STUCK + "stuck()"
IN_MAIN = (
    STUCK
    + """
from absl import flags
from glow_tf import main

class Trainer(main.Trainer):
    def run(self):
        stuck()

main.Trainer = Trainer
flags.FLAGS(["main", "--image_size=8", "--K=1", "--L=1", "--width=4", "--steps=1"])
main.main(["main"])
"""
)


@pytest.mark.parametrize(("program", "number"), [(ALONE, signal.SIGTERM), (IN_MAIN, signal.SIGINT)])
def test_a_second_one_ends_the_program_where_nothing_of_python_runs(tmp_path, program, number):
    root = str(pathlib.Path(__file__).parent.parent.parent)
    command = [sys.executable, "-c", program.replace("NUMBER", str(int(number)))]
    environment = {**os.environ, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert any(line == "noted\n" for line in process.stdout)
            process.send_signal(number)
            assert process.wait(timeout=60) == -number
        finally:
            process.kill()


def test_in_a_thread_it_does_nothing():
    before, entered = handlers(), []

    def enter():
        with StopSignals() as signals:
            entered.append((handlers() == before, signals.received))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [(True, None)]
    assert handlers() == before


@pytest.mark.parametrize(("received", "by"), [(signal.SIGTERM, "SIGTERM"), (None, "another worker")])
def test_what_is_said(received, by):
    stopped = TrainingStopped(received, 1234)
    assert str(stopped) == f"Stopped by {by} at step 1,234, whose checkpoint is written."
    assert (stopped.signal, stopped.step) == (received, 1234)
