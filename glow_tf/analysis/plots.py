"""Reproducible plots, readable on slides."""

import os
from collections.abc import Collection, Mapping

import numpy as np

from glow_tf.runtime.files import atomic_write

# Okabe & Ito's palette, suitable for any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_SIZE = 13

# x [N], and y [N] or [runs, N], by the name of a line.
Lines = Mapping[str, tuple[np.ndarray, np.ndarray]]


def save_lines(
    panels: Mapping[str, Lines],
    path: str | os.PathLike,
    *,
    title: str,
    x: str,
    y: str | Mapping[str, str],
    share_y: bool = True,
) -> None:
    """Draws lines in panels side by side; several runs as their mean and a band of one standard deviation.

    Args:
      panels: lines by the title of the panel. A line has the same colour in all panels.
      path: the PNG to write.
      title: title of the figure.
      x: label of the horizontal axes.
      y: label of the vertical axis, or labels by panel.
      share_y: whether the panels share a vertical axis.
    """
    figure, axes = _figure(len(panels), title, share_y)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for i, (panel, lines) in enumerate(panels.items()):
        for name, (across, up) in lines.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            runs = np.atleast_2d(up)
            mean = runs.mean(axis=0)
            axes[i].plot(across, mean, color=colour, label=name, linewidth=2, marker="o", markersize=4)
            if len(runs) > 1:
                spread = runs.std(axis=0, ddof=1)
                axes[i].fill_between(across, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        axes[i].set_title(panel, fontsize=_SIZE)
        axes[i].set_xlabel(x, fontsize=_SIZE)
        if i == 0 or not share_y:
            axes[i].set_ylabel(y if isinstance(y, str) else y[panel], fontsize=_SIZE)
        axes[i].legend(fontsize=_SIZE - 1)
    _save(figure, path)


def save_histograms(
    panels: Mapping[str, Mapping[str, np.ndarray]], path: str | os.PathLike, *, title: str, x: Mapping[str, str]
) -> None:
    """Draws histograms of sets of numbers, normalised to densities over common bins, in panels side by side.

    Args:
      panels: numbers [N] by the title of the panel and the name of the set.
      path: the PNG to write.
      title: title of the figure.
      x: label of the horizontal axis by panel.
    """
    figure, axes = _figure(len(panels), title, share_y=False)
    for i, (panel, sets) in enumerate(panels.items()):
        everything = np.concatenate(list(sets.values()))
        # A few outliers would squeeze everything else into one bin.
        low, high = np.quantile(everything[np.isfinite(everything)], [0.002, 0.998])
        bins = np.linspace(low, high if high > low else low + 1, 51)
        for colour, (name, values) in zip(COLOURS, sets.items(), strict=False):
            axes[i].hist(np.clip(values, bins[0], bins[-1]), bins, density=True, alpha=0.55, color=colour, label=name)
        axes[i].set_title(panel, fontsize=_SIZE)
        axes[i].set_xlabel(x[panel], fontsize=_SIZE)
        axes[i].set_yticks([])
        axes[i].legend(fontsize=_SIZE - 1)
    _save(figure, path)


def save_bars(
    panels: Mapping[str, Mapping[str, float]], path: str | os.PathLike, *, title: str, highlighted: Collection[str]
) -> None:
    """Draws horizontal bars in panels side by side, the longest on top.

    Args:
      panels: lengths by the title of the panel and the name of the bar.
      path: the PNG to write.
      title: title of the figure.
      highlighted: names of the bars to highlight.
    """
    figure, axes = _figure(len(panels), title, share_y=False)
    for axis, (panel, bars) in zip(axes, panels.items(), strict=True):
        names = sorted(bars, key=bars.get)
        colours = [COLOURS[0] if name in highlighted else "0.75" for name in names]
        drawn = axis.barh(names, [bars[name] for name in names], color=colours)
        axis.bar_label(drawn, [f"{bars[name]:,.3g}" for name in names], padding=3, fontsize=_SIZE - 2)
        axis.set_title(panel, fontsize=_SIZE)
        axis.margins(x=0.15)
        axis.grid(visible=False, axis="y")
    _save(figure, path)


def _figure(panels: int, title: str, share_y: bool):
    # Imported here, as it is slow; without pyplot, whose state is global.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 5.5 * panels, 4.8), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=_SIZE + 1)
    axes = figure.subplots(1, panels, squeeze=False, sharey=share_y)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=_SIZE - 2)
    return figure, axes


def _save(figure, path: str | os.PathLike) -> None:
    with atomic_write(path) as temporary:
        # Without Matplotlib's version, the same input gives the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})
