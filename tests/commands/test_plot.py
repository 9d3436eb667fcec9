"""Curves and animations of training runs: what is drawn, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from glow_tf.analysis.grid import save_png
from tests.commands.driver import run_commands

COMMANDS = {
    "one": ["plot", "run", "--output=one.png"],
    "two": ["plot", "run", "deep/run", "--output=two.svg"],
    "minutes": ["plot", "run", "--x=minutes", "--output=minutes.svg"],
    "images": ["plot", "run", "--x=images", "--output=images.svg"],
    "default": ["plot", "deep/run/"],
    "animation": ["plot", "run", "--output=run.gif", "--gif_frames=3"],
    "nothing": ["plot"],
    "nowhere": ["plot", "run", "nowhere"],
    "no run": ["plot", "empty"],
    "just begun": ["plot", "begun"],
    "twice": ["plot", "run", "./run"],
    "another ending": ["plot", "run", "--output=curves.jpg"],
    "over another file": ["plot", "run", "--output=notes.svg"],
    "a folder": ["plot", "run", "--output=empty"],
    "no batch size": ["plot", "deep/run", "--x=images"],
    "no samples": ["plot", "deep/run", "--output=a.gif"],
    "two animations": ["plot", "run", "deep/run", "--output=a.gif"],
    "labels": ["plot", "guessing", "--output=labels.svg"],
    "an axis of an animation": ["plot", "run", "--x=minutes", "--output=a.gif"],
    "the speed of curves": ["plot", "run", "--gif_speed=3", "--output=a.png"],
    "frames of curves": ["plot", "run", "--gif_frames=3"],
}


def line(step, kind, **values):
    return json.dumps({"step": step, "time": 1000.0 + step, "kind": kind, **values}) + "\n"


def write_run(directory):
    """Writes the metrics of a run of 40 steps that was stopped for an hour at step 20; the last line is incomplete."""
    directory.mkdir(parents=True)
    lines = [line(0, "pipeline", images_per_second=1.0)]
    for step in (10, 20, 30, 40):
        if step == 30:
            lines.append(line(3620, "pipeline", images_per_second=1.0).replace('"step": 3620', '"step": 20'))
        later = 3600 if step > 20 else 0
        train = line(step, "train", bits_per_dim=4 - step / 20, gradient_norm=10.0**step, learning_rate=1e-3)
        lines.append(train.replace(f'"time": {1000.0 + step}', f'"time": {1000.0 + step + later}'))
    lines.append(line(40, "test", bits_per_dim=2.5, standard_error=0.1, images=9))
    (directory / "metrics.jsonl").write_text("".join(lines) + '{"step": 50, "ki')


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plot")
    write_run(directory / "run")
    write_run(directory / "deep" / "run")
    training = {"batch_size": 8, "optimizer": "adam", "ema_decay": 0.5}
    (directory / "run" / "training.json").write_text(json.dumps(training))
    for step in range(5):
        grid = np.full([12 if step else 6, 12, 3], 50 * step, np.uint8)
        save_png(grid, directory / "run" / "samples" / f"step_{step:07d}.png")
    (directory / "guessing").mkdir()
    test = {"bits_per_dim": 2.5, "standard_error": 0.1, "label_error": 0.25, "images": 9}
    (directory / "guessing" / "metrics.jsonl").write_text(line(10, "test", **test) + line(20, "test", **test))
    (directory / "empty").mkdir()
    (directory / "notes.svg").write_text("milk, eggs")
    (directory / "begun").mkdir()
    (directory / "begun" / "metrics.jsonl").write_text(line(0, "pipeline", images_per_second=1.0))
    return directory, run_commands(directory, COMMANDS)


@pytest.mark.parametrize("name", ["one", "two", "minutes", "images", "default", "animation", "labels"])
def test_it_writes_and_says_where(results, name):
    directory, found = results
    code, out, err = found[name]
    assert (code, err) == (0, "")
    expected = next((a.partition("=")[2] for a in COMMANDS[name] if a.startswith("--output")), "curves.png")
    assert out == f"{expected}\n" and (directory / expected).stat().st_size


def texts(path):
    """The texts in an SVG, which are in comments beside its paths."""
    return [part.partition("-->")[0].strip() for part in path.read_text().split("<!--")[1:]]


def test_every_panel_and_run_is_named(results):
    directory, _ = results
    found = texts(directory / "two.svg")
    for title in ("bits/dim in training", "bits/dim, held out", "norm of the gradient", "learning rate"):
        assert found.count(title) == 1
    # Runs whose directories have the same name are distinguished by their paths.
    assert {"run", "deep/run"} <= set(found) and found.count("steps") == 4
    with Image.open(directory / "one.png") as picture:
        assert picture.format == "PNG" and picture.width > picture.height


def test_runs_that_guess_labels_have_a_panel_for_them(results):
    directory, _ = results
    title = "label error, held out"
    assert texts(directory / "labels.svg").count(title) == 1 and title not in texts(directory / "two.svg")


def test_what_the_axis_counts(results):
    directory, _ = results
    for name, label in (("minutes", "minutes of training"), ("images", "training images")):
        assert texts(directory / f"{name}.svg").count(label) == 4
    # 40 steps of 8 images; 40 seconds of training, without the hour in between.
    assert "300" in texts(directory / "images.svg")
    assert "0.6" in texts(directory / "minutes.svg") and "60" not in texts(directory / "minutes.svg")


def test_an_animation_of_the_samples(results):
    directory, _ = results
    with Image.open(directory / "run.gif") as gif:
        seen, durations = [], []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
            seen.append(int(np.asarray(gif.convert("RGB"))[-6, 8, 0]))
    # Steps 0, 2 and 4, of which the first is left out as its size differs; the last one is shown longer.
    assert seen == [100, 200] and durations[1] > 10 * durations[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "Name the model directory of a run"),
        ("nowhere", "nowhere is not a directory"),
        ("no run", "empty has no metrics.jsonl"),
        ("just begun", "begun/metrics.jsonl has no metrics yet"),
        ("twice", "named twice"),
        ("another ending", "--output=curves.jpg must end with .png, .svg, .gif"),
        ("over another file", "--output=notes.svg is there and is no .svg file"),
        ("a folder", "--output=empty is a folder"),
        ("no batch size", "deep/run does not say the batch size"),
        ("no samples", "deep/run/samples has no grids of samples"),
        ("two animations", "name one directory"),
        ("an axis of an animation", "--x is for curves; --output=a.gif is an animation"),
        ("the speed of curves", "--gif_speed is for animations; --output=a.png has curves"),
        ("frames of curves", "--gif_frames is for animations; --output=curves.png has curves"),
    ],
)
def test_mistakes_are_told_in_one_line(results, name, message):
    code, out, err = results[1][name]
    assert code == 1 and out == "" and message in err
    assert err.startswith("error: ") and err.count("\n") == 1
