"""Trains Glow with each permutation and coupling: the paper's figure 3, as curves and as a table.

  python -m tools.ablation --dataset=cifar10 --K=32 --width=512 --steps=200000 --output=runs/ablation
  python -m tools.ablation --data_dir=images.npz --dataset=arrays --K=8 --width=64 --steps=500 --train_batch_size=32

Every run is a model directory under --output. The program says how long it will take before it starts; stopped or
killed, the same command goes on, and trains only what is missing. It writes ablation.png and ablation.md.
"""

import pathlib

import numpy as np
from absl import flags

from glow_tf.data import Source, recipe
from glow_tf.latent import plots
from glow_tf.models import presets
from glow_tf.training.devices import make_strategy
from glow_tf.training.signals import TrainingStopped
from tools import common, experiments

FLAGS = flags.FLAGS
PERMUTATIONS = ("reverse", "shuffle", "conv1x1")
COUPLINGS = ("additive", "affine")

common.define("dataset", "L", *common.EXPERIMENT_FLAGS)
flags.DEFINE_integer("seeds", 3, "Runs of each kind, with the seeds 0, 1, ...", lower_bound=1)
flags.DEFINE_integer("K", 8, "Steps of flow per level.", lower_bound=1)
flags.DEFINE_integer("width", 64, "Hidden channels of the coupling networks.", lower_bound=1)
flags.DEFINE_multi_enum("permutation", PERMUTATIONS, PERMUTATIONS, "Permutations to compare.")
flags.DEFINE_multi_enum("coupling", COUPLINGS, COUPLINGS, "Couplings to compare.")


def main() -> None:
    """Trains what is missing, draws the curves and writes the table."""
    source = common.experiment_data()
    directory = pathlib.Path(FLAGS.output or "runs/ablation")
    runs = _runs(source, directory)
    try:
        experiments.train_all(runs, source, make_strategy("mirrored"), lambda line: print(line, flush=True))
    except TrainingStopped as stop:
        print(experiments.how_to_go_on(stop))
        raise SystemExit(128 + (stop.signal or 15)) from None
    groups: dict[str, list[experiments.Curve]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(experiments.read_curve(run.directory))
    title = f"{source.name}: Glow, K={FLAGS.K}, L={FLAGS.L}, width {FLAGS.width}, {FLAGS.seeds} seeds"
    panels = {}
    for coupling in dict.fromkeys(FLAGS.coupling):
        ofs = {p: groups[f"{p}_{coupling}"] for p in dict.fromkeys(FLAGS.permutation)}
        panels[f"{coupling} coupling"] = {
            p: (curves[0].steps, np.stack([curve.bits_per_dim for curve in curves])) for p, curves in ofs.items()
        }
    plots.save_lines(panels, directory / "ablation.png", title=title, x="updates", y="bits/dim, held out")
    table = _table(groups, source)
    (directory / "ablation.md").write_text(
        f"{title}, {FLAGS.steps:,} updates of {FLAGS.train_batch_size} images\n\n{table}\n"
    )
    print(f"\n{table}\n\n{directory / 'ablation.png'}\n{directory / 'ablation.md'}")


def _runs(source: Source, directory: pathlib.Path) -> list[experiments.Run]:
    usual = recipe(source.name)
    runs = []
    # Seeds last, so that a few runs of every kind are there early.
    for seed in range(FLAGS.seeds):
        for coupling in dict.fromkeys(FLAGS.coupling):
            for permutation in dict.fromkeys(FLAGS.permutation):
                config = presets.glow(
                    source.image_shape,
                    FLAGS.K,
                    FLAGS.L,
                    FLAGS.width,
                    coupling,
                    permutation,
                    FLAGS.n_bits or usual.n_bits,
                )
                group = f"{permutation}_{coupling}"
                training = common.experiment_training(source, seed)
                runs.append(experiments.Run(group, config, training, directory / f"{group}_seed{seed}"))
    return runs


def _table(groups: dict[str, list[experiments.Curve]], source: Source) -> str:
    """Bits/dim after the last step, in Markdown: the mean over seeds and its standard deviation."""
    couplings, permutations = dict.fromkeys(FLAGS.coupling), dict.fromkeys(FLAGS.permutation)
    lines = [
        f"| bits/dim of {source.sizes['test']:,} held-out images | {' | '.join(couplings)} |",
        "|---|" + "---:|" * len(couplings),
    ]
    for permutation in permutations:
        cells = []
        for coupling in couplings:
            last = np.array([curve.bits_per_dim[-1] for curve in groups[f"{permutation}_{coupling}"]])
            spread = f" +- {last.std(ddof=1):.3f}" if last.size > 1 else ""
            cells.append(f"{last.mean():.3f}{spread}")
        lines.append(f"| {permutation} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    common.run(main)
