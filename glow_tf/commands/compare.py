"""Trains NICE, RealNVP and Glow with about the same number of parameters.

  glow compare --dataset=cifar10 --parameters=40000000 --steps=200000 --output=runs/compare
  glow compare --dataset=arrays --data_dir=images.npz --parameters=1000000 --steps=1000

Each run is a model directory under --output. The estimated duration is printed first. After an interruption, the same
command continues. Writes compare.png and compare.md, which also lists the published figures on CIFAR-10.
"""

from collections.abc import Callable

from absl import flags

from glow_tf.analysis import plots
from glow_tf.commands import command, common_flags, experiment_flags, experiments, outputs
from glow_tf.config import ModelConfig
from glow_tf.data import Source, recipe
from glow_tf.layers import Steps
from glow_tf.models import presets
from glow_tf.models.variables import parameter_count

FLAGS = flags.FLAGS

# Bits/dim on CIFAR-10, with sources. NICE's was computed by the authors of PixelRNN.
PUBLISHED = {
    "nice": "4.48 (van den Oord et al. 2016, table 4)",
    "real_nvp": "3.49 (Dinh et al. 2017, table 1)",
    "glow": "3.35 (Kingma & Dhariwal 2018, table 2)",
}

common_flags.define(*experiment_flags.NAMES)
flags.DEFINE_integer(
    "parameters", 1_000_000, "Approximate number of trainable parameters of each model.", lower_bound=1000
)
flags.DEFINE_integer("blocks", 2, "Residual blocks of RealNVP's networks.", lower_bound=1)


def main() -> None:
    """Trains missing runs, draws the curves and writes the table."""
    directory = outputs.folder("runs/compare")
    source = experiment_flags.load_data()
    configs = matched_models(source)
    strategy, runtime = experiments.prepare_devices(configs.values(), FLAGS.train_batch_size)
    runs = [
        experiments.Run(name, config, experiment_flags.training(source, seed), directory / f"{name}_seed{seed}")
        for seed in range(FLAGS.seeds)
        for name, config in configs.items()
    ]
    curves, seconds = experiments.train_missing(runs, source, strategy, runtime)
    title = f"{source.title}: models of {parameter_count(configs['real_nvp']):,} parameters"
    table = [
        f"| | parameters | width | bits/dim of {source.sizes['test']:,} held-out images | images/s in training "
        "| published, CIFAR-10 |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, config in configs.items():
        width = next(layer.network.width for layer in config.layers if isinstance(layer, Steps))
        rate = f"{FLAGS.train_batch_size / seconds[name]:,.0f}"
        cells = (f"{parameter_count(config):,}", width, experiments.format_final(curves[name]), rate, PUBLISHED[name])
        table.append(f"| {name} | {' | '.join(map(str, cells))} |")
    experiments.write_table(
        directory / "compare.md", f"{title}, {FLAGS.steps:,} updates of {FLAGS.train_batch_size} images", table
    )
    lines = {name: experiments.common_evaluations(of_seeds) for name, of_seeds in curves.items()}
    plots.save_lines({"": lines}, directory / "compare.png", title=title, x="updates", y="bits/dim, held out")
    print(directory / "compare.png")


def closest_in_size(make: Callable[[int], ModelConfig], wanted: int) -> ModelConfig:
    """Returns the model of the width that brings its number of parameters closest to `wanted`.

    Args:
      make: maps a width to a model.
      wanted: desired number of parameters.

    Raises:
      ValueError: if a model of width 1 has more than twice as many parameters.
    """
    low, high = 1, 2
    if parameter_count(make(low)) > 2 * wanted:
        raise ValueError(
            f"--parameters={wanted:,} is too few: with a width of 1 there are {parameter_count(make(1)):,}."
        )
    while parameter_count(make(high)) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameter_count(make(middle)) < wanted else (low, middle)
    return min((make(low), make(high)), key=lambda config: abs(parameter_count(config) - wanted))


def matched_models(source: Source) -> dict[str, ModelConfig]:
    """Returns the models by name: the RealNVP closest to --parameters, and NICE and Glow matched to its size.

    The others are matched to RealNVP as its possible sizes are far apart: its width doubles with each scale.
    """
    shape, n_bits = source.image_shape, FLAGS.n_bits or recipe(source.name).n_bits
    blocks = FLAGS.blocks
    real_nvp = closest_in_size(
        lambda width: presets.real_nvp(shape, width=width, blocks=blocks, n_bits=n_bits), FLAGS.parameters
    )
    size = parameter_count(real_nvp)
    return {
        "nice": closest_in_size(lambda width: presets.nice(shape, width=width, n_bits=n_bits), size),
        "real_nvp": real_nvp,
        "glow": closest_in_size(lambda width: presets.glow(shape, FLAGS.K, FLAGS.L, width, n_bits=n_bits), size),
    }


if __name__ == "__main__":
    command.run(main)
