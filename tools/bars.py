"""Bar plots of the benchmarks."""

import os
from collections.abc import Collection, Mapping

from glow_tf.analysis import plots


def save_bars(
    panels: Mapping[str, Mapping[str, float]], path: str | os.PathLike, *, title: str, highlighted: Collection[str]
) -> None:
    """Draws horizontal bars in panels side by side, the longest on top.

    Args:
      panels: lengths, keyed by panel title and bar name.
      path: the PNG or SVG to write, by its suffix.
      title: title of the figure.
      highlighted: names of the bars to highlight.
    """
    figure, axes = plots.new_figure(len(panels), title, share_y=False)
    for axis, (panel, bars) in zip(axes, panels.items(), strict=True):
        names = sorted(bars, key=bars.get)
        colours = [plots.COLOURS[0] if name in highlighted else "0.75" for name in names]
        drawn = axis.barh([plots.literal(name) for name in names], [bars[name] for name in names], color=colours)
        axis.bar_label(drawn, [f"{bars[name]:,.3g}" for name in names], padding=3, fontsize=plots.FONT_SIZE - 2)
        axis.set_title(plots.literal(panel), fontsize=plots.FONT_SIZE)
        axis.margins(x=0.15)
        axis.grid(visible=False, axis="y")
    plots.save(figure, path)
