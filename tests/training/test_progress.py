"""A progress bar on terminals, plain lines elsewhere."""

import io
import re

import pytest

from glow_tf.training.progress import Progress, _duration


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


def run(stream, **arguments):
    with Progress(100, 8, stream=stream, **arguments) as progress:
        progress.say("Continuing.")
        progress.begin(20)
        for step in (30, 60, 100):
            progress.update(step, 3.14159, 1234.5, None if step == 30 else 100.0 - step)
    return stream.getvalue()


def test_files_get_plain_lines():
    text = run(io.StringIO(), seconds_between_lines=0)
    assert "\r" not in text and "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "Continuing."
    assert len(lines) == 4
    for line, step, left in zip(lines[1:], (30, 60, 100), ("", ", 0:40 left", ", 0:00 left"), strict=True):
        assert re.fullmatch(rf"step {step} of 100: 3\.142 bits/dim, 1,23[45] images/s{left}", line)


def test_lines_come_now_and_then_and_at_the_end():
    lines = run(io.StringIO(), seconds_between_lines=3600).splitlines()
    assert [line.split(":")[0] for line in lines] == ["Continuing.", "step 100 of 100"]


def test_terminals_get_a_bar():
    text = run(Terminal())
    assert "\r" in text
    assert "100/100" in text and "3.142 bits/dim" in text
    assert "Continuing.\n" in text


def test_the_cells_of_notebooks_get_a_bar_too():
    """They are not terminals, but can return to the beginning of a line."""
    cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    assert "100/100" in run(cell())


def test_a_resumed_bar_begins_at_its_step(monkeypatch):
    """It shows no time left until that is known: the first step takes longer than others."""
    clock = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    stream = Terminal()
    with Progress(1000, 8, stream=stream) as progress:
        progress.begin(900)
        for step, left in ((901, None), (902, 980.0)):
            clock[0] += 10.0
            progress.update(step, 3.0, 1.0, left)
    assert "901/1000 [00:10<?," in stream.getvalue()
    assert "902/1000 [00:20<16:20," in stream.getvalue()


def test_the_time_left_is_what_the_caller_says():
    for stream, text in ((Terminal(), "<1:01:01,"), (io.StringIO(), ", 1:01:01 left")):
        with Progress(1000, 8, stream=stream, seconds_between_lines=0) as progress:
            progress.begin(900)
            progress.update(901, 3.0, 1.0, 3661.0)
        assert text in stream.getvalue()


def test_a_bar_can_go_back():
    stream = Terminal()
    with Progress(100, 8, stream=stream) as progress:
        progress.update(50, 3.0, 1.0)
        progress.begin(40)
        progress.update(41, 3.0, 1.0)
    assert " 41/100 " in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_silent_is_silent(stream):
    assert run(stream(), silent=True, seconds_between_lines=0) == ""


def test_a_bar_is_closed_when_training_fails():
    stream = Terminal()
    with pytest.raises(RuntimeError), Progress(100, 8, stream=stream):
        raise RuntimeError
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(1234.5, "1,23[45]"), (10.4, "10"), (0.0735, "0.073"), (2.5, "2.5")])
def test_slow_models_have_a_rate_too(rate, text):
    stream = io.StringIO()
    with Progress(2, 1, stream=stream, seconds_between_lines=0) as progress:
        progress.update(1, 3.0, rate)
    assert re.search(rf" {text} images/s", stream.getvalue())
