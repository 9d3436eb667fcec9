"""Plots the metrics of training runs, or animates the samples of one.

  glow plot runs/people_glow
  glow plot runs/a runs/b --x=minutes --output=curves.svg
  glow plot runs/people_glow --output=samples.gif

For each run, which may be in progress, draws bits/dim in training, bits/dim on held-out images with the standard error
as a band, the norm of the gradient and the learning rate, and the label error on held-out images where a classifier is
trained. The suffix of --output determines the format: a PNG, an SVG, or a GIF of the sample grids, which show the same
latents throughout.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image

from glow_tf.analysis.grid import labelled_grid, save_gif
from glow_tf.analysis.plots import Curve, save_curves
from glow_tf.commands import command, common_flags, outputs
from glow_tf.runtime import paths
from glow_tf.runtime.text import printable
from glow_tf.training import model_directory
from glow_tf.training.metrics import METRICS_FILE, columns, read_metrics

FLAGS = flags.FLAGS

common_flags.define("output")
_X = {"steps": ("step", "steps"), "minutes": ("minutes", "minutes of training"), "images": ("seen", "training images")}
flags.DEFINE_enum(
    "x",
    "steps",
    list(_X),
    "Unit of the horizontal axis: steps; minutes of training, without those between two starts of a run; or images "
    "trained on.",
)
flags.DEFINE_integer("gif_frames", 60, "Largest number of grids of samples in a GIF, evenly spaced.", lower_bound=2)
flags.DEFINE_float("gif_speed", 8.0, "Grids a second in a GIF.", lower_bound=0.1, upper_bound=50.0)

# Kind and name of each metric, keyed by the title of its panel.
_PANELS = {
    "bits/dim in training": ("train", "bits_per_dim"),
    "bits/dim, held out": ("test", "bits_per_dim"),
    "label error, held out": ("test", "label_error"),
    "norm of the gradient": ("train", "gradient_norm"),
    "learning rate": ("train", "learning_rate"),
}
# Metrics that the `standard_error` of an evaluation is of.
_WITH_ERROR = ("bits_per_dim",)


def main(arguments: list[str]) -> None:
    """Draws the curves of the model directories, or the animation of one."""
    if not arguments:
        raise ValueError("Name the model directory of a run, or several: glow plot runs/people_glow")
    output = FLAGS.output or "curves.png"
    suffix = outputs.suffix_of(output, (*outputs.PLOTS, ".gif"))
    directories = [pathlib.Path(paths.local(argument, "The model directory")) for argument in arguments]
    if suffix == ".gif":
        common_flags.refuse(["x"], f"is for curves; --output={output} is an animation.")
        if len(directories) > 1:
            raise ValueError(f"--output={output}: a GIF shows the samples of one run; name one directory.")
        _animate(directories[0], output)
    else:
        common_flags.refuse(["gif_frames", "gif_speed"], f"is for animations; --output={output} has curves.")
        _draw(directories, output)
    print(output)


def _draw(directories: Sequence[pathlib.Path], output: str) -> None:
    runs = {name: _read(path) for name, path in zip(_names(directories), directories, strict=True)}
    x, label = _X[FLAGS.x]
    panels = {}
    for panel, (kind, metric) in _PANELS.items():
        found = {name: columns(lines, kind) for name, lines in runs.items()}
        panels[panel] = {
            name: Curve(metrics[x], metrics[metric], metrics.get("standard_error") if metric in _WITH_ERROR else None)
            for name, metrics in found.items()
            if metric in metrics
        }
    panels = {panel: curves for panel, curves in panels.items() if curves}
    title = ", ".join(runs) if len(runs) <= 3 else f"{len(runs)} runs"
    bits = [panel for panel in panels if panel.startswith("bits/dim")]
    log, from_zero = ["norm of the gradient"], ["learning rate", "label error, held out"]
    save_curves(panels, output, title=title, x=label, log_y=log, from_zero=from_zero, same_y=bits)


def _animate(directory: pathlib.Path, output: str) -> None:
    _check_directory(directory)
    files = {int(path.stem[5:]): path for path in (directory / "samples").glob("step_*.png") if path.stem[5:].isdigit()}
    if not files:
        raise ValueError(f"{directory / 'samples'} has no grids of samples; --sample_every of glow train draws them.")
    steps = sorted(files)
    steps = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, FLAGS.gif_frames).round().astype(int))]
    grids = {step: np.asarray(Image.open(files[step]).convert("RGB")) for step in steps}
    # A run may be continued with another number of samples, which changes the size of its grids.
    shape = grids[steps[-1]].shape
    frames = [
        labelled_grid(grid[np.newaxis, np.newaxis], title=f"step {step:,}", scale=1)
        for step, grid in grids.items()
        if grid.shape == shape
    ]
    width = max(frame.shape[1] for frame in frames)
    frames = [np.pad(f, [(0, 0), (0, width - f.shape[1]), (0, 0)], constant_values=255) for f in frames]
    # The last frame is held for two seconds.
    frames += frames[-1:] * round(2 * FLAGS.gif_speed)
    save_gif(np.stack(frames), output, seconds=1 / FLAGS.gif_speed)


def _read(directory: pathlib.Path) -> list[dict]:
    """Returns the lines of metrics of a run, each with the `minutes` of training and the images `seen` so far."""
    _check_directory(directory)
    lines = list(read_metrics(directory))
    if not any(line.get("kind") in ("train", "test") for line in lines):
        raise ValueError(f"{directory / METRICS_FILE} has no metrics yet; they come every --log_every steps.")
    batch_size = model_directory.settings(directory).get("batch_size")
    if FLAGS.x == "images" and not isinstance(batch_size, int):
        raise ValueError(f"{directory} does not say the batch size of the run, by which --x=images counts.")
    minutes = _minutes(lines)
    return [
        {**line, "minutes": at, "seen": line["step"] * (batch_size or 0)}
        for line, at in zip(lines, minutes, strict=True)
    ]


def _minutes(lines: Sequence[dict]) -> list[float]:
    """Returns the minutes of training at each line, without those before a `pipeline` line, the first of each start."""
    minutes, total, before = [], 0.0, None
    for line in lines:
        now = line.get("time", before)
        if before is not None and line.get("kind") != "pipeline":
            total += max(0.0, now - before) / 60
        before = now
        minutes.append(total)
    return minutes


def _check_directory(directory: pathlib.Path) -> None:
    if not directory.is_dir():
        raise ValueError(f"{printable(str(directory))} is not a directory. Name the --model_dir of a run.")
    if not (directory / METRICS_FILE).is_file():
        raise ValueError(
            f"{printable(str(directory))} has no {METRICS_FILE}: it is not the --model_dir of a run, or the run has "
            "not begun."
        )


def _names(directories: Sequence[pathlib.Path]) -> list[str]:
    """Returns the names of the runs: those of their directories, or the whole paths if names are not unique."""
    short = [directory.resolve().name for directory in directories]
    names = short if len(set(short)) == len(short) else [os.fspath(directory) for directory in directories]
    if len(set(names)) < len(names):
        raise ValueError("A model directory is named twice.")
    return [printable(name) for name in names]


if __name__ == "__main__":
    command.run(main)
