"""Trains Glow with each permutation and coupling (the paper's figure 3).

  glow ablation --dataset=cifar10 --K=32 --width=512 --steps=200000 --output=runs/ablation
  glow ablation --data_dir=images.npz --dataset=arrays --K=8 --width=64 --steps=500 --train_batch_size=32

Each run is a model directory under --output. The estimated duration is printed first. After an interruption, the same
command continues, and trains only the missing runs. Writes ablation.png and ablation.md.
"""

import pathlib

from absl import flags

from glow_tf.analysis import plots
from glow_tf.commands import command, common_flags, experiment_flags, experiments, outputs
from glow_tf.data import Source, recipe
from glow_tf.models import presets

FLAGS = flags.FLAGS
PERMUTATIONS = ("reverse", "shuffle", "conv1x1")
# The paper's couplings.
COUPLINGS = ("additive", "affine")

common_flags.define(*experiment_flags.NAMES, "width")
flags.DEFINE_multi_enum("permutation", PERMUTATIONS, PERMUTATIONS, "Permutations to compare.")
flags.DEFINE_multi_enum("coupling", COUPLINGS, presets.COUPLINGS, "Couplings to compare; by default the paper's.")


def main() -> None:
    """Trains missing runs, draws the curves and writes the table."""
    directory = outputs.folder("runs/ablation")
    source = experiment_flags.load_data()
    runs = _runs(source, directory)
    strategy, runtime = experiments.prepare_devices((run.config for run in runs), FLAGS.train_batch_size)
    curves, _ = experiments.train_missing(runs, source, strategy, runtime)
    seeds = experiments.counted(FLAGS.seeds, "seed")
    title = f"{source.title}: Glow, K={FLAGS.K}, L={FLAGS.L}, width {FLAGS.width}, {seeds}"
    couplings, permutations = dict.fromkeys(FLAGS.coupling), dict.fromkeys(FLAGS.permutation)
    table = [
        f"| bits/dim of {source.sizes['test']:,} held-out images | {' | '.join(couplings)} |",
        "|---|" + "---:|" * len(couplings),
    ]
    for permutation in permutations:
        cells = [experiments.format_final(curves[f"{permutation}_{coupling}"]) for coupling in couplings]
        table.append(f"| {permutation} | {' | '.join(cells)} |")
    experiments.write_table(
        directory / "ablation.md", f"{title}, {FLAGS.steps:,} updates of {FLAGS.train_batch_size} images", table
    )
    panels = {
        f"{coupling} coupling": {
            permutation: experiments.common_evaluations(curves[f"{permutation}_{coupling}"])
            for permutation in permutations
        }
        for coupling in couplings
    }
    plots.save_lines(panels, directory / "ablation.png", title=title, x="updates", y="bits/dim, held out")
    print(directory / "ablation.png")


def _runs(source: Source, directory: pathlib.Path) -> list[experiments.Run]:
    usual = recipe(source.name)
    runs = []
    # All kinds for the first seed, then for the next, so that results of every kind are available early.
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
                training = experiment_flags.training(source, seed)
                runs.append(experiments.Run(group, config, training, directory / f"{group}_seed{seed}"))
    return runs


if __name__ == "__main__":
    command.run(main)
