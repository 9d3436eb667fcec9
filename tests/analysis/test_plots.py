"""Plots: content, read off the picture, and reproducibility."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from glow_tf.analysis.plots import (
    COLOURS,
    Curve,
    common_bins,
    save_curves,
    save_histograms,
    save_lines,
    save_sounds,
)

X = np.arange(4)


def pixels(path, colour):
    """The rows and columns of the pixels of the given colour."""
    with Image.open(path) as file:
        picture = np.asarray(file.convert("RGB")).astype(int)
    return np.nonzero((np.abs(picture - ImageColor.getrgb(colour)) < 8).all(axis=-1))


def lines(path, **panels):
    save_lines(panels, path, title="Title", x="steps", y="bits/dim")


def test_lines_of_other_names_have_other_colours(tmp_path):
    lines(tmp_path / "a.png", one={"low": (X, 0.0 * X), "high": (X, 0.0 * X + 1)})
    low, high = (pixels(tmp_path / "a.png", colour)[0] for colour in COLOURS[:2])
    assert low.size and high.size
    # Rows count from the top; most of the pixels belong to the lines, not to the legend.
    assert np.median(high) < np.median(low)
    assert not pixels(tmp_path / "a.png", COLOURS[2])[0].size


def test_powers_are_equally_far_apart_on_a_logarithmic_axis(tmp_path):
    """On a logarithmic axis, the peak of the line is in the middle, and not at the left end."""
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


@pytest.mark.parametrize(
    "values", [np.random.default_rng(0).normal(size=300), np.zeros(5), np.array([0.0, np.inf, 1]), np.array([np.nan])]
)
def test_histograms_of_whatever_there_is(tmp_path, values):
    panels = {"bits": {"inside": values, "outside": values + 1}}
    save_histograms(panels, tmp_path / "h.png", title="Title", x={"bits": "bits/dim"})
    with Image.open(tmp_path / "h.png") as file:
        assert np.asarray(file.convert("L")).std() > 5


def test_every_set_has_a_histogram(tmp_path):
    pictures = []
    for count in (8, 9):
        panels = {"bits": {f"set {i}": np.full(10, float(i % 8)) for i in range(count)}}
        save_histograms(panels, tmp_path / "h.png", title="Title", x={"bits": "bits/dim"})
        with Image.open(tmp_path / "h.png") as file:
            pictures.append(np.asarray(file.convert("RGB")))
    assert pictures[0].shape != pictures[1].shape or (pictures[0] != pictures[1]).any()


def test_bins_hold_a_small_set_that_lies_apart():
    many, apart = np.random.default_rng(0).normal(2, 0.3, 1000), np.array([4.4, np.nan])
    bins = common_bins([np.append(many, 99.0), apart])
    assert bins[-1] == 4.4 and 1 < bins[0] < 1.4
    np.testing.assert_allclose(np.diff(bins), (4.4 - bins[0]) / 50)


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


def curves(path, panels, **arguments):
    save_curves(panels, path, title="Title", x="steps", **arguments)


def test_a_run_has_its_colour_in_every_panel(tmp_path):
    a, b = Curve(X, 1.0 + X), Curve(X, 5.0 - X)
    curves(tmp_path / "both.png", {"one": {"a": a, "b": b}, "two": {"b": b}})
    curves(tmp_path / "one.png", {"one": {"a": a}, "two": {"b": b}})
    for name in ("both.png", "one.png"):
        _, columns = pixels(tmp_path / name, COLOURS[1])
        with Image.open(tmp_path / name) as picture:
            assert (columns > picture.width / 2).sum() > 100


def test_the_first_steps_do_not_flatten_the_rest(tmp_path):
    """One value in a hundred is 1000; the others, from 1 to 2, still fill most of the panel."""
    y = np.linspace(2, 1, 100)
    y[0] = 1000.0
    curves(tmp_path / "cut.png", {"bits": {"a": Curve(np.arange(100), y)}}, same_y=["bits"])
    curves(tmp_path / "whole.png", {"bits": {"a": Curve(np.arange(100), y)}})
    heights = []
    for name in ("cut.png", "whole.png"):
        rows, columns = pixels(tmp_path / name, COLOURS[0])
        heights.append(np.ptp(rows[columns > np.median(columns)]))
    assert heights[0] > 100 and heights[1] < 20


def texts(path):
    """The texts in an SVG, which are in comments beside its paths."""
    return [part.partition("-->")[0].strip() for part in path.read_text().split("<!--")[1:]]


def test_any_name_is_drawn_as_it_is(tmp_path):
    """Also where matplotlib would read mathematics, or leave a name out of the legend."""
    name, path = "_cost_$5_$10", tmp_path / "a.svg"
    save_lines({name: {name: (X, X), "b": (X, X)}}, path, title=name, x=name, y=name)
    assert texts(path).count(name) == 5
    save_curves({name: {name: Curve(X, X), "b": Curve(X, X)}}, path, title=name, x=name)
    assert texts(path).count(name) == 4
    save_histograms({name: {name: X}}, path, title=name, x={name: name})
    assert texts(path).count(name) == 4
    save_sounds({name: np.ones([1, 300])}, 100, path, title=name)
    assert texts(path).count(name) == 2


def test_the_legend_names_the_runs_of_all_panels(tmp_path):
    """A run may have been evaluated before its first line of training."""
    curves(tmp_path / "a.svg", {"one": {"late": Curve(X, X)}, "two": {"first": Curve(X, X), "late": Curve(X, X)}})
    assert [text for text in texts(tmp_path / "a.svg") if text in ("late", "first")] == ["late", "first"]


def test_nothing_finite_is_drawn_too(tmp_path):
    """As for a run whose values are all NaN."""
    curves(tmp_path / "a.png", {"bits": {"a": Curve(X, X * np.nan, X * np.nan)}}, same_y=["bits"], log_y=["bits"])
    assert (tmp_path / "a.png").stat().st_size


def test_svg_by_the_name_and_the_same_every_time(tmp_path):
    for name in ("a.svg", "b.SVG"):
        curves(tmp_path / name, {"bits": {"the run": Curve(X, 1.0 * X, 0.1 + 0.0 * X), "other": Curve(X, 2.0 * X)}})
    text = (tmp_path / "a.svg").read_text()
    assert text.startswith("<?xml") and "<svg" in text and COLOURS[0].lower() in text
    assert text == (tmp_path / "b.SVG").read_text()
