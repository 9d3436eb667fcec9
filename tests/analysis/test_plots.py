"""Plots: what is drawn, read off the picture, and that it is the same every time."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from glow_tf.analysis.plots import COLOURS, save_histograms, save_lines, save_sounds

X = np.arange(4)


def pixels(path, colour):
    """Where a picture has a colour: rows and columns."""
    with Image.open(path) as file:
        picture = np.asarray(file.convert("RGB")).astype(int)
    return np.nonzero((np.abs(picture - ImageColor.getrgb(colour)) < 8).all(axis=-1))


def lines(path, **panels):
    save_lines(panels, path, title="Title", x="steps", y="bits/dim")


def test_lines_of_other_names_have_other_colours(tmp_path):
    lines(tmp_path / "a.png", one={"low": (X, 0.0 * X), "high": (X, 0.0 * X + 1)})
    low, high = (pixels(tmp_path / "a.png", colour)[0] for colour in COLOURS[:2])
    assert low.size and high.size
    # Up is less in a picture; most of the pixels are the lines', not the legend's.
    assert np.median(high) < np.median(low)
    assert not pixels(tmp_path / "a.png", COLOURS[2])[0].size


def test_powers_are_equally_far_apart_on_a_logarithmic_axis(tmp_path):
    """The peak of the line is in its middle, and not at its left end."""
    places = {}
    for log_x in (False, True):
        path = tmp_path / f"{log_x}.png"
        panel = {"line": (np.array([1, 100, 10_000]), np.array([0.0, 1.0, 0.0]))}
        save_lines({"": panel}, path, title="Title", x="labels", y="accuracy", log_x=log_x)
        rows, columns = pixels(path, COLOURS[0])
        ends = np.ptp(columns[rows > np.quantile(rows, 0.9)])
        places[log_x] = (np.median(columns[rows == rows.min()]) - columns.min()) / ends
    assert places[False] < 0.1
    assert places[True] == pytest.approx(0.5, abs=0.1)


def test_several_runs_are_a_mean_in_a_band(tmp_path):
    wide, narrow = (
        {"runs": (X, np.stack([1 + spread + 0.0 * X, 1 - spread + 0.0 * X, 0 * X, 2 + 0.0 * X]))}
        for spread in (0.9, 0.1)
    )
    alone = {"runs": (X, np.stack([0.0 * X, 1 + 0.0 * X]).mean(axis=0))}
    for name, panel in (("wide", wide), ("narrow", narrow), ("alone", alone)):
        lines(tmp_path / f"{name}.png", one=panel)
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in ("wide", "narrow", "alone")}) == 3


def test_panels_stand_side_by_side(tmp_path):
    panel = {"line": (X, X)}
    lines(tmp_path / "one.png", one=panel)
    lines(tmp_path / "two.png", one=panel, two=panel)
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.height == one.height and two.width > 1.5 * one.width


@pytest.mark.parametrize("values", [np.random.default_rng(0).normal(size=300), np.zeros(5), np.array([0.0, np.inf, 1])])
def test_histograms_of_whatever_there_is(tmp_path, values):
    panels = {"bits": {"inside": values, "outside": values + 1}}
    save_histograms(panels, tmp_path / "h.png", title="Title", x={"bits": "bits/dim"})
    with Image.open(tmp_path / "h.png") as file:
        assert np.asarray(file.convert("L")).std() > 5


def test_a_high_tone_stands_above_a_low_one(tmp_path):
    def row_of_loudest(hertz):
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(2000) / 8000)
        save_sounds({"tone": tone[np.newaxis]}, 8000, tmp_path / "tone.png", title="Title")
        return np.median(pixels(tmp_path / "tone.png", "#fcfdbf")[0])

    assert row_of_loudest(3000) < row_of_loudest(1000) - 50


def test_the_same_numbers_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        lines(tmp_path / f"{name}.png", one={"line": (X, X)})
        save_histograms({"p": {"s": X}}, tmp_path / f"h{name}.png", title="", x={"p": ""})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "ha.png").read_bytes() == (tmp_path / "hb.png").read_bytes()
