"""Detects images of another data set by bits/dim and by typicality.

  glow outliers --model_dir=runs/cifar10_glow --outliers=svhn_cropped
  glow outliers --model_dir=runs/photos --outliers=folder --outliers_dir=other_photos

The AUROC is the probability that an image of --outliers has a higher score than one of the model's own data set.
"""

from absl import flags

from glow_tf.analysis import plots
from glow_tf.analysis.likelihood import Scorer, Scores
from glow_tf.analysis.outliers import auroc, outlier_scores
from glow_tf.commands import command, common_flags, data_flags, model_flags, outputs
from glow_tf.data import Source, split_batches
from glow_tf.shared_flags import define_path

FLAGS = flags.FLAGS

common_flags.define(*model_flags.NAMES, *data_flags.NAMES, "split", "limit", "seed", "output")
flags.DEFINE_string("outliers", None, "The other data set, as --dataset.")
define_path("outliers_dir", None, "Its folder or file, as --data_dir.")


def main() -> None:
    """Scores both data sets, draws the histograms and prints the AUROC."""
    output = outputs.picture("outliers.png", outputs.PLOTS)
    if not FLAGS.outliers:
        raise ValueError("--outliers names the data set to tell from the model's own, such as svhn_cropped.")
    flow = model_flags.load_flow(many=True)
    if flow.config.conditional:
        print("This model is conditional: images of the other data set are scored with the labels they have there.")
    own = data_flags.load_data(flow)
    other = data_flags.load_data(flow, name=FLAGS.outliers, data_dir=FLAGS.outliers_dir)
    if flow.config.conditional and not 0 < other.num_classes <= flow.config.num_classes:
        raise ValueError(
            f"This model is conditional, and {other.name} has no labels from 0 to {flow.config.num_classes - 1}."
        )
    scorer = Scorer(flow)
    inside, outside = (outlier_scores(flow, _scores(scorer, source)) for source in (own, other))
    names = own.title, other.title
    if names[0] == names[1]:
        names = names[0], f"{names[1]} (outliers)"
    panels, axes = {}, {}
    for kind, text in (("bits/dim", "bits/dim"), ("typicality", "|log-density of the latent + entropy|, nats/dim")):
        area = auroc(inside[kind], outside[kind])
        panel = f"{kind}: AUROC {area:.3f}"
        panels[panel] = {names[0]: inside[kind], names[1]: outside[kind]}
        axes[panel] = text
        means = ", ".join(f"{name} {values.mean():.4f}" for name, values in panels[panel].items())
        print(f"{kind}: AUROC {area:.4f} ({means})")
    plots.save_histograms(panels, output, title=f"{names[0]} and {names[1]}, {FLAGS.split} split", x=axes)
    print(output)


def _scores(scorer: Scorer, source: Source) -> Scores:
    batch_size = model_flags.batch_size(scorer.flow.config)
    batches = split_batches(source, FLAGS.split, batch_size, data_flags.limit())
    return scorer(batches.as_numpy_iterator(), seed=FLAGS.seed)


if __name__ == "__main__":
    command.run(main)
