"""Flags shared by several commands."""

import math
from collections.abc import Callable, Iterable

from absl import flags

from glow_tf.analysis.attributes import SCALE
from glow_tf.runtime.text import printable
from glow_tf.shared_flags import (
    define_flip,
    define_max_megapixels,
    define_path,
    define_paths,
    define_plugins,
    define_shift,
)

FLAGS = flags.FLAGS

# Flags become key flags of the command that uses them, so that its --help lists only those.
flags.disclaim_key_flags()


def _define_model_dir() -> None:
    help = (
        "Model directory or SavedModel, or 'pretrained' or 'pretrained_32' for the bundled model of 16x16 or 32x32 "
        "pixels; --saved_model is the same flag."
    )
    define_path("model_dir", "pretrained", help, for_tensorflow=True)
    # Registered in this module, as --help need not list both names.
    flags.DEFINE_alias("saved_model", "model_dir", module_name=__name__)
    define_plugins()


def check_one_model() -> None:
    """Raises ValueError if --model_dir is given under both of its names."""
    if "saved_model" in FLAGS:
        alias = FLAGS["saved_model"].present
        # Setting the alias counts as setting both.
        if 0 < alias < FLAGS["model_dir"].present:
            raise ValueError("--model_dir and --saved_model are one flag; give one of them.")


_FLAGS: dict[str, Callable[[], object]] = {
    "model_dir": _define_model_dir,
    "weights": lambda: flags.DEFINE_enum(
        "weights", "ema", ["ema", "raw"], "The moving average of the weights, or the weights themselves."
    ),
    "dataset": lambda: flags.DEFINE_string(
        "dataset", None, "Data set, as for training; by default the one the model was trained on."
    ),
    "data_dir": lambda: define_path("data_dir", None, "Folder or file of the data set, as for training."),
    "test_fraction": lambda: flags.DEFINE_float("test_fraction", None, "Share held out, as for training.", 0.0, 1.0),
    "test_size": lambda: flags.DEFINE_integer("test_size", None, "Images held out, as for training.", 1),
    "crop_from": lambda: flags.DEFINE_integer(
        "crop_from",
        None,
        "Resizes the shorter side of the images to this many pixels before a central crop, as for training; by default "
        "as the model was trained, for its own data set, folders and --images.",
        lower_bound=1,
    ),
    "upscale": lambda: flags.DEFINE_bool(
        "upscale",
        None,
        "Enlarges too small images of a folder, or --images, as for training; --noupscale refuses such images of other "
        "data. By default as the model was trained, like --crop_from.",
    ),
    "max_megapixels": define_max_megapixels,
    "flip": define_flip,
    "shift": define_shift,
    "split": lambda: flags.DEFINE_enum("split", "test", ["train", "test"], "Split of the data set."),
    "limit": lambda: flags.DEFINE_integer(
        "limit", 0, "Number of images of the split to use, from the first; 0: all.", 0
    ),
    "batch_size": lambda: flags.DEFINE_integer(
        "batch_size", None, "Images per batch; the default depends on their size.", lower_bound=1
    ),
    "xla": lambda: flags.DEFINE_bool(
        "xla", None, "Compiles computations on whole batches with XLA; by default with a GPU."
    ),
    "num": lambda: flags.DEFINE_integer(
        "num", None, "Number of images; the default depends on the command.", lower_bound=1
    ),
    "images": lambda: define_paths("images", "Picture files to use instead of images of the data set."),
    "indices": lambda: flags.DEFINE_list(
        "indices", None, "Numbers of images of the split to use; by default the first ones."
    ),
    "label": lambda: flags.DEFINE_integer(
        "label", None, "Label of samples, or of --images, for a conditional model.", lower_bound=0
    ),
    "temperature": lambda: flags.DEFINE_float(
        "temperature", 0.7, "Factor on the standard deviation of the latents.", lower_bound=0.0
    ),
    "seed": lambda: flags.DEFINE_integer("seed", 0, "Seed of all random draws.", 0, 2**31 - 1),
    "scale": lambda: flags.DEFINE_integer(
        "scale", None, "Enlargement of each pixel; by default small images are enlarged.", lower_bound=1
    ),
    "seeds": lambda: flags.DEFINE_integer("seeds", 3, "Runs of each kind, with the seeds 0, 1, ...", lower_bound=1),
    "K": lambda: flags.DEFINE_integer("K", 8, "Steps of flow per level of Glow.", lower_bound=1),
    "width": lambda: flags.DEFINE_integer("width", 64, "Hidden channels of the coupling networks.", lower_bound=1),
    "L": lambda: flags.DEFINE_integer("L", 3, "Levels of Glow.", lower_bound=1),
    "steps": lambda: flags.DEFINE_integer("steps", 500, "Updates of each run.", lower_bound=1),
    "train_batch_size": lambda: flags.DEFINE_integer("train_batch_size", 32, "Images per update.", lower_bound=1),
    "learning_rate": lambda: flags.DEFINE_float("learning_rate", 1e-3, "Learning rate after the warm-up.", 0.0),
    "warmup_steps": lambda: flags.DEFINE_integer("warmup_steps", 50, "Updates of linear warm-up.", lower_bound=0),
    "clip_norm": lambda: flags.DEFINE_float(
        "clip_norm", 50.0, "Largest norm of the gradient, as a single bad batch could ruin a short run; 0: none.", 0.0
    ),
    "eval_every": lambda: flags.DEFINE_integer("eval_every", 100, "Updates between two evaluations.", lower_bound=1),
    "n_bits": lambda: flags.DEFINE_integer(
        "n_bits", None, "Bits per channel; by default as the papers do with the data set, else 8.", 1, 8
    ),
    "image_size": lambda: flags.DEFINE_integer("image_size", None, "Side of the images; by default their own.", 1),
    "table": lambda: define_path(
        "table", None, "File of attributes with a line for each image: its name, and 1, 0 or -1 for each attribute."
    ),
    "names": lambda: flags.DEFINE_list("names", None, "Attributes to use; by default all."),
    "attributes": lambda: define_path("attributes", None, "File of directions, written by glow attributes."),
    "strength": lambda: flags.DEFINE_float(
        "strength", SCALE, "Factor on the difference of the means; 1.6 is that of the official demo."
    ),
    "output": lambda: define_path("output", None, "File or folder to write; by default named after the command."),
}


def define(*names: str, **helps: str) -> None:
    """Defines flags by name; each command interprets a default of None.

    Args:
      *names: names of flags.
      **helps: names of further flags, with their help text in this command.
    """
    for name in (*names, *helps):
        if name not in FLAGS:
            _FLAGS[name]()
        flags.declare_key_flag(name)
    for name, help in helps.items():
        FLAGS[name].help = help


def refuse(names: Iterable[str], reason: str) -> None:
    """Raises ValueError if one of the flags is given; the message is its name and the reason."""
    for name in names:
        if FLAGS[name].present:
            raise ValueError(f"--{name} {reason}")


def numbers(flag: str) -> list[float]:
    """Returns the value of a list flag as numbers.

    Raises:
      ValueError: if an entry is not a finite number.
    """
    try:
        return [finite(text) for text in FLAGS[flag].value]
    except ValueError:
        raise ValueError(f"--{flag}={','.join(FLAGS[flag].value)} must be finite numbers.") from None


def finite(text: str) -> float:
    """Parses a number. Raises ValueError if the text is not a finite one."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


def attribute_names() -> list[str]:
    """Returns the value of --names, spelt as in `load_attributes`; [] if it is not set."""
    return [printable(name) for name in FLAGS.names or ()]
