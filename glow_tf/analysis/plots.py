"""Reproducible plots, readable on slides."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from glow_tf.runtime.files import atomic_write

# Okabe & Ito's colour-blind-safe palette.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FONT_SIZE = 13

# x [N], and y [N] or [runs, N], keyed by the name of the line.
Lines = Mapping[str, tuple[np.ndarray, np.ndarray]]


def save_lines(
    panels: Mapping[str, Lines],
    path: str | os.PathLike,
    *,
    title: str,
    x: str,
    y: str | Mapping[str, str],
    share_y: bool = True,
    log_x: bool = False,
) -> None:
    """Draws lines in panels side by side; several runs are drawn as their mean with a band of one standard deviation.

    Args:
      panels: lines, keyed by panel title. A line has the same colour in all panels.
      path: the PNG or SVG to write, by its suffix.
      title: title of the figure.
      x: label of the horizontal axes.
      y: label of the vertical axis, or labels keyed by panel title.
      share_y: whether the panels share a vertical axis.
      log_x: whether the horizontal axes are logarithmic, with a tick at each x.
    """
    figure, axes = new_figure(len(panels), title, share_y)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for i, (panel, lines) in enumerate(panels.items()):
        handles = {}
        for name, (across, up) in lines.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            runs = np.atleast_2d(up)
            mean = runs.mean(axis=0)
            (handles[name],) = axes[i].plot(across, mean, color=colour, linewidth=2, marker="o", markersize=4)
            if len(runs) > 1:
                spread = runs.std(axis=0, ddof=1)
                axes[i].fill_between(across, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        if log_x:
            marks = sorted({float(at) for across, _ in lines.values() for at in across})
            axes[i].set_xscale("log")
            axes[i].set_xticks(marks, [f"{at:,.6g}" for at in marks])
            axes[i].minorticks_off()
        axes[i].set_title(literal(panel), fontsize=FONT_SIZE)
        axes[i].set_xlabel(literal(x), fontsize=FONT_SIZE)
        if i == 0 or not share_y:
            axes[i].set_ylabel(literal(y if isinstance(y, str) else y[panel]), fontsize=FONT_SIZE)
        _legend(axes[i], handles)
    save(figure, path)


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A curve of a training run: x [N], y [N] and, if known, the standard error of y [N]."""

    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None = None


def save_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    path: str | os.PathLike,
    *,
    title: str,
    x: str,
    log_y: Collection[str] = (),
    from_zero: Collection[str] = (),
    same_y: Collection[str] = (),
) -> None:
    """Draws curves of training runs in panels, two per row, with standard errors as bands.

    Args:
      panels: curves, keyed by panel title and run name. A run has the same colour in all panels.
      path: the PNG or SVG to write, by its suffix.
      title: title of the figure.
      x: label of the horizontal axes.
      log_y: titles of the panels whose vertical axis is logarithmic if values are far apart.
      from_zero: titles of the panels whose vertical axis begins at 0.
      same_y: titles of the panels that share a vertical range, which cuts off first steps far above the others.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    figure, axes = _grid(len(panels), title)
    handles = {}
    for axis, (panel, curves) in zip(axes, panels.items(), strict=True):
        for name, curve in curves.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            style = "-" if names.index(name) < len(COLOURS) else "--"
            few = len(curve.x) <= 60
            marks = {"marker": "o", "markersize": 3 + (len(curve.x) == 1)} if few else {}
            (line,) = axis.plot(curve.x, curve.y, style, color=colour, linewidth=1.6, **marks)
            handles.setdefault(name, line)
            if curve.error is not None:
                low, high = curve.y - curve.error, curve.y + curve.error
                axis.fill_between(curve.x, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set_title(literal(panel), fontsize=FONT_SIZE)
        axis.set_xlabel(literal(x), fontsize=FONT_SIZE)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        if panel in log_y and _spans_decades([curve.y for curve in curves.values()]):
            axis.set_yscale("log")
        if panel in from_zero:
            axis.set_ylim(bottom=0)
    limits = _limits([curve.y for panel in same_y for curve in panels.get(panel, {}).values()])
    for axis, panel in zip(axes, panels, strict=True):
        if panel in same_y and limits:
            axis.set_ylim(limits)
    if len(names) > 1:
        handles = {name: handles[name] for name in names}
        _legend(figure, handles, loc="outside lower center", ncols=min(4, len(names)))
    save(figure, path)


def _spans_decades(values: list[np.ndarray]) -> bool:
    positive = np.concatenate([*(y[(y > 0) & np.isfinite(y)] for y in values), np.empty(0)])
    return positive.size > 0 and positive.max() > 20 * positive.min()


def _limits(values: list[np.ndarray]) -> tuple[float, float] | None:
    """Returns the limits of an axis that shows most of the values; None if none is finite."""
    finite = np.concatenate([*values, np.empty(0)])
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(np.quantile(finite, 0.95))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def save_histograms(
    panels: Mapping[str, Mapping[str, np.ndarray]], path: str | os.PathLike, *, title: str, x: Mapping[str, str]
) -> None:
    """Draws histograms, normalised to densities over common bins, in panels side by side.

    Args:
      panels: values [N], keyed by panel title and set name.
      path: the PNG or SVG to write, by its suffix.
      title: title of the figure.
      x: labels of the horizontal axes, keyed by panel title.
    """
    figure, axes = new_figure(len(panels), title, share_y=False)
    for i, (panel, sets) in enumerate(panels.items()):
        bins, handles = common_bins(list(sets.values())), {}
        for colour, (name, values) in zip(itertools.cycle(COLOURS), sets.items(), strict=False):
            clipped = np.clip(values, bins[0], bins[-1])
            *_, handles[name] = axes[i].hist(clipped, bins, density=True, alpha=0.55, color=colour)
        axes[i].set_title(literal(panel), fontsize=FONT_SIZE)
        axes[i].set_xlabel(literal(x[panel]), fontsize=FONT_SIZE)
        axes[i].set_yticks([])
        _legend(axes[i], handles)
    save(figure, path)


def common_bins(sets: Sequence[np.ndarray], count: int = 50) -> np.ndarray:
    """Returns bin edges, [count + 1], that cover nearly all finite values of each set.

    The largest and smallest 0.2 % of a set may lie outside, as a few outliers would squeeze the rest into one bin.
    """
    ends = [np.quantile(values[np.isfinite(values)], [0.002, 0.998]) for values in sets if np.isfinite(values).any()]
    low, high = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 1.0)
    return np.linspace(low, high if high > low else low + 1, count + 1)


def save_sounds(
    rows: Mapping[str, np.ndarray], rate: int, path: str | os.PathLike, *, title: str, quietest: float = -70.0
) -> None:
    """Draws sounds as waveforms, each above its spectrogram, in a grid.

    Axes and the colour scale are the same for all sounds.

    Args:
      rows: sounds [N, T], keyed by row title, with the same N in each.
      rate: samples per second.
      path: the PNG or SVG to write, by its suffix.
      title: title of the figure.
      quietest: power of the darkest colour, in decibels relative to the loudest of the first row.
    """
    from matplotlib.figure import Figure

    columns, length = next(iter(rows.values())).shape
    figure = Figure(figsize=(1 + 3.2 * columns, 1 + 3 * len(rows)), dpi=100, layout="constrained")
    figure.suptitle(literal(title), fontsize=FONT_SIZE + 1)
    heights = [1, 2] * len(rows)
    axes = figure.subplots(2 * len(rows), columns, squeeze=False, height_ratios=heights, sharex=True, sharey="row")
    powers = {name: _spectrogram(sounds) for name, sounds in rows.items()}
    loudest = next(iter(powers.values())).max()
    for row, (name, sounds) in enumerate(rows.items()):
        above, below = axes[2 * row : 2 * row + 2]
        for column, (sound, power) in enumerate(zip(sounds, powers[name], strict=True)):
            above[column].plot(np.arange(length) / rate, sound, color=COLOURS[0], linewidth=0.4)
            above[column].set_ylim(-1, 1)
            below[column].imshow(
                power.T,
                origin="lower",
                aspect="auto",
                extent=(0, length / rate, 0, rate / 2),
                vmin=loudest + quietest,
                vmax=loudest,
                cmap="magma",
            )
        above[0].set_title(literal(name), fontsize=FONT_SIZE, loc="left")
        below[0].set_ylabel("Hz", fontsize=FONT_SIZE - 2)
    for axis in axes[-1]:
        axis.set_xlabel("seconds", fontsize=FONT_SIZE - 2)
    save(figure, path)


def _spectrogram(sounds: np.ndarray, window: int = 256, hop: int = 64) -> np.ndarray:
    """Returns the power spectrograms of sounds [N, T] in decibels, [N, frames, frequencies]."""
    window = min(window, sounds.shape[-1])
    frames = np.lib.stride_tricks.sliding_window_view(sounds, window, axis=-1)[:, ::hop]
    return 20 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(window))) + 1e-9)


def new_figure(panels: int, title: str, share_y: bool):
    """Returns a styled figure, and the axes of its panels side by side."""
    # Imported here, as it is slow; pyplot is avoided, as its state is global.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 5.5 * panels, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, sharey=share_y)[0]
    return _styled(figure, title, axes)


def _grid(panels: int, title: str):
    """Returns a figure and its axes, two per row."""
    from matplotlib.figure import Figure

    rows, columns = -(-panels // 2), min(2, panels)
    figure = Figure(figsize=(1 + 6 * columns, 0.8 + 3.8 * rows), dpi=120, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for unused in axes[panels:]:
        unused.remove()
    return _styled(figure, title, axes[:panels])


def _styled(figure, title: str, axes):
    figure.suptitle(literal(title), fontsize=FONT_SIZE + 1)
    for axis in axes:
        axis.tick_params(labelbottom=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=FONT_SIZE - 2)
    return figure, axes


def literal(text: str) -> str:
    """Returns a text so that matplotlib draws it as it is, with `$` not taken for mathematics."""
    return text.replace("$", r"\$")


def _legend(owner, handles: Mapping[str, Any], **options) -> None:
    """Adds a legend to a figure or to axes.

    Args:
      owner: the figure or axes.
      handles: what is drawn, keyed by name.
      **options: further arguments of the legend.
    """
    # The names are set afterwards, as matplotlib leaves out those that begin with `_`.
    legend = owner.legend(list(handles.values()), [""] * len(handles), fontsize=FONT_SIZE - 1, **options)
    for drawn, name in zip(legend.get_texts(), handles, strict=True):
        drawn.set_text(literal(name))


def save(figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG or SVG, by the suffix of the path."""
    import matplotlib

    # Without version, date and random names, the same input gives the same file.
    is_svg = pathlib.Path(path).suffix.lower() == ".svg"
    kind, metadata = ("svg", {"Date": None, "Creator": None}) if is_svg else ("png", {"Software": None})
    with atomic_write(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "glow_tf"}):
        figure.savefig(temporary, format=kind, metadata=metadata)
