"""What the tools share: flags, the model and the data they work on, and errors of one line."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import absl.logging
import numpy as np
from absl import app, flags

from glow_tf.config import ModelConfig
from glow_tf.data import Source, load_images, load_source, picture_files, recipe, split_batches
from glow_tf.data.indexed import IndexedSource
from glow_tf.latent.attributes import SCALE
from glow_tf.latent.codec import default_batch_size
from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.models.parts import leave_each_operation_one_core
from glow_tf.runtime.text import printable
from glow_tf.shared_flags import define_max_megapixels, define_path, define_paths, parse_command_line
from glow_tf.training import directory as model_directory
from glow_tf.training.config import TrainingConfig

FLAGS = flags.FLAGS

# Flags are key flags of the tool that asks for them: its --help lists those alone.
flags.disclaim_key_flags()

_FLAGS: dict[str, Callable[[], object]] = {
    "model_dir": lambda: define_path(
        "model_dir",
        "pretrained",
        "Model directory, or 'pretrained' for the model that comes along.",
        for_tensorflow=True,
    ),
    "weights": lambda: flags.DEFINE_enum(
        "weights", "ema", ["ema", "raw"], "The moving average of the weights, or the weights themselves."
    ),
    "dataset": lambda: flags.DEFINE_string(
        "dataset", None, "Data set, as for training; by default the one the model was trained on."
    ),
    "data_dir": lambda: define_path("data_dir", None, "Folder or file of the data set, as for training."),
    "test_fraction": lambda: flags.DEFINE_float("test_fraction", None, "Share held out, as for training.", 0.0, 1.0),
    "test_size": lambda: flags.DEFINE_integer("test_size", None, "Images held out, as for training.", 1),
    "max_megapixels": define_max_megapixels,
    "split": lambda: flags.DEFINE_enum("split", "test", ["train", "test"], "Split of the data set."),
    "limit": lambda: flags.DEFINE_integer("limit", 0, "First images of the split to use; 0: all.", 0),
    "batch_size": lambda: flags.DEFINE_integer(
        "batch_size", None, "Images at once; by default as many as fit well for their size.", lower_bound=1
    ),
    "xla": lambda: flags.DEFINE_bool(
        "xla", None, "Compiles what is computed of whole batches by XLA; by default where there is a GPU."
    ),
    "num": lambda: flags.DEFINE_integer(
        "num", None, "Number of images; by default as many as make a good figure.", lower_bound=1
    ),
    "images": lambda: define_paths("images", "Picture files to work on, in place of images of the data set."),
    "indices": lambda: flags.DEFINE_list(
        "indices", None, "Numbers of images of the split to work on; by default the first ones."
    ),
    "label": lambda: flags.DEFINE_integer(
        "label", None, "Label of what is drawn, or of --images, for a conditional model.", lower_bound=0
    ),
    "temperature": lambda: flags.DEFINE_float(
        "temperature", 0.7, "Factor on the standard deviation of the latents that are drawn.", lower_bound=0.0
    ),
    "seed": lambda: flags.DEFINE_integer("seed", 0, "Of all that is drawn at random."),
    "scale": lambda: flags.DEFINE_integer(
        "scale", None, "Enlargement of each pixel; by default small images are enlarged.", lower_bound=1
    ),
    "seeds": lambda: flags.DEFINE_integer("seeds", 3, "Runs of each kind, with the seeds 0, 1, ...", lower_bound=1),
    "K": lambda: flags.DEFINE_integer("K", 8, "Steps of flow per level of Glow.", lower_bound=1),
    "width": lambda: flags.DEFINE_integer("width", 64, "Hidden channels of the coupling networks.", lower_bound=1),
    "L": lambda: flags.DEFINE_integer("L", 3, "Levels of the flow.", lower_bound=1),
    "steps": lambda: flags.DEFINE_integer("steps", 500, "Updates of each run.", lower_bound=1),
    "train_batch_size": lambda: flags.DEFINE_integer("train_batch_size", 32, "Images per update.", lower_bound=1),
    "learning_rate": lambda: flags.DEFINE_float("learning_rate", 1e-3, "Learning rate after the warm-up.", 0.0),
    "warmup_steps": lambda: flags.DEFINE_integer("warmup_steps", 50, "Updates of linear warm-up.", lower_bound=0),
    "clip_norm": lambda: flags.DEFINE_float(
        "clip_norm", 50.0, "Largest norm of the gradient: a single bad batch would spoil a short run; 0: none.", 0.0
    ),
    "eval_every": lambda: flags.DEFINE_integer("eval_every", 100, "Updates between two evaluations.", lower_bound=1),
    "n_bits": lambda: flags.DEFINE_integer(
        "n_bits", None, "Bits per channel; by default as the papers do with the data set, else 8.", 1, 8
    ),
    "image_size": lambda: flags.DEFINE_integer("image_size", None, "Side of the images; by default their own.", 1),
    "table": lambda: define_path(
        "table", None, "File of attributes: a line an image, its name and for each attribute 1, 0 or -1."
    ),
    "names": lambda: flags.DEFINE_list("names", None, "Attributes to use; by default all."),
    "attributes": lambda: define_path("attributes", None, "File of directions that tools.attributes wrote."),
    "strength": lambda: flags.DEFINE_float(
        "strength", SCALE, "Factor on the difference of the means; 1.6 is that of the official demo."
    ),
    "output": lambda: define_path("output", None, "What to write; by default named after the tool."),
}

MODEL_FLAGS = ("model_dir", "weights", "batch_size", "xla")
DATA_FLAGS = ("dataset", "data_dir", "test_fraction", "test_size", "max_megapixels")
IMAGE_FLAGS = ("images", "indices", "num", "split", "label")
EXPERIMENT_FLAGS = (
    *("dataset", "max_megapixels", "K", "L", "seeds"),
    *("data_dir", "test_fraction", "test_size", "image_size", "n_bits"),
    *("steps", "train_batch_size", "learning_rate", "warmup_steps", "clip_norm", "eval_every"),
    "output",
)


def define(*names: str) -> None:
    """Defines flags that several tools share; what a flag's default of None stands for is the tool's to say."""
    for name in names:
        if name not in FLAGS:
            _FLAGS[name]()
        flags.declare_key_flag(name)


def run(main: Callable[[], None]) -> None:
    """Runs a tool's `main`; what is wrong with its input is one line on stderr and the exit code 1."""
    app.run(lambda argv: call(main, argv), flags_parser=parse_command_line)


def call(main: Callable[[], None], argv: list[str]) -> None:
    """Calls a tool's `main` once its flags are parsed; `argv` is what is left of the command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    absl.logging.set_verbosity(absl.logging.WARNING)
    try:
        if "max_megapixels" in FLAGS:
            picture_files.limit(FLAGS.max_megapixels)
        main()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def load_flow(*, many: bool = False) -> Flow:
    """The model of --model_dir.

    Args:
      many: whether the tool works on whole batches, of which cores take a part each where that pays; see
        `glow_tf.models.parts`.

    Raises:
      ValueError: if it is one of flat vectors, which have no picture.
    """
    if many:
        _leave_each_operation_one_core(storage.load_config(FLAGS.model_dir))
    flow = storage.load(FLAGS.model_dir, weights=FLAGS.weights)
    if FLAGS.xla is not None:
        flow.xla = FLAGS.xla
    if flow.xla:
        print("XLA compiles each kind of computation when it is first needed.", file=sys.stderr)
    if len(flow.config.image_shape) != 3:
        raise ValueError("This is a model of flat vectors, which have no picture; use glow_tf.load(...) in Python.")
    return flow


def load_data(flow: Flow, **other: Any) -> Source:
    """The data set of the flags, brought to the size of the model's images.

    Args:
      flow: the model.
      **other: `name` and `data_dir` of another data set than that of the flags.

    Raises:
      ValueError: if there is no such data, or it is not known what the model was trained on.
    """
    height, width, channels = flow.config.image_shape
    size = {"image_size": (height, width), "channels": channels}
    if other:
        return load_source(**{**other, **size})
    names = {"name": "dataset", "data_dir": "data_dir", "test_fraction": "test_fraction", "test_size": "test_size"}
    given = {argument: FLAGS[flag].value for argument, flag in names.items() if FLAGS[flag].value is not None}
    if "name" not in given:
        recorded = model_directory.source_arguments(pathlib.Path(FLAGS.model_dir))
        if FLAGS.model_dir == "pretrained":
            recorded = {"name": "people"}
        if not recorded:
            raise ValueError(f"{FLAGS.model_dir} does not say what the model was trained on; set --dataset.")
        given = {**recorded, **given}
    return _with_labels_of(flow, load_source(**{**given, **size}))


def _with_labels_of(flow: Flow, source: Source) -> Source:
    """Data with some of the classes a conditional model was trained on, with the labels they had there."""
    trained = model_directory.class_names(pathlib.Path(FLAGS.model_dir))
    own = source.class_names
    if not flow.config.conditional or not own or not set(own) <= set(trained) or not isinstance(source, IndexedSource):
        return source
    return source.with_classes(trained)


def experiment_data() -> Source:
    """The data set of an experiment, which has no model yet."""
    return load_source(
        FLAGS.dataset or "people",
        data_dir=FLAGS.data_dir,
        image_size=FLAGS.image_size,
        test_fraction=FLAGS.test_fraction,
        test_size=FLAGS.test_size,
    )


def data_name(source: Source) -> str:
    """What to call a data set in a figure: a folder or file of one's own by its name."""
    own = source.name in ("folder", "arrays")
    return printable(pathlib.Path(source.arguments["data_dir"]).stem) if own else source.name


def experiment_training(source: Source, seed: int) -> TrainingConfig:
    """How the flags of an experiment say to train, with the data set's usual augmentation."""
    usual = recipe(source.name)
    return TrainingConfig(
        batch_size=FLAGS.train_batch_size,
        steps=FLAGS.steps,
        optimizer="adam",
        learning_rate=FLAGS.learning_rate,
        warmup_steps=FLAGS.warmup_steps,
        clip_norm=FLAGS.clip_norm,
        flip=usual.flip,
        shift=usual.shift,
        seed=seed,
        init_images=max(FLAGS.train_batch_size, 64),
        eval_every=FLAGS.eval_every,
        eval_images=0,
        sample_every=0,
        samples=16,
        checkpoint_every=FLAGS.eval_every,
        keep_checkpoints=1,
        keep_every_hours=0.0,
    )


def numbers(flag: str) -> list[float]:
    """The value of a flag that lists numbers.

    Raises:
      ValueError: if one of them is none.
    """
    try:
        return [float(text) for text in FLAGS[flag].value]
    except ValueError:
        raise ValueError(f"--{flag}={','.join(FLAGS[flag].value)} must be numbers.") from None


def attribute_names() -> list[str]:
    """The value of --names, [] if it is not set, as `load_attributes` spells them."""
    return [printable(name) for name in FLAGS.names or ()]


def sample_labels(flow: Flow, count: int) -> np.ndarray | None:
    """Labels [count] of samples: --label, or for a conditional model the classes in turn; None for other models."""
    label = label_of_flags(flow)
    if not flow.config.conditional:
        return None
    return np.arange(count, dtype=np.int32) % flow.config.num_classes if label is None else np.full([count], label)


def limit() -> int | None:
    """The value of --limit, None for all images."""
    return FLAGS.limit or None


def images_of_flags(flow: Flow, default_num: int) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """The pictures that --images, --indices or --num name, their labels for a conditional model, and their names.

    Returns:
      images uint8 [N, H, W, C]; labels int32 [N], or None for a model that is not conditional; N names.

    Raises:
      ValueError: if there are none, a number is not one of the split, or a label is missing.
    """
    label = label_of_flags(flow)
    if FLAGS.images:
        images = load_images(FLAGS.images, flow.config.image_shape)
        if flow.config.conditional and label is None:
            raise ValueError("This model is conditional: --images need their --label.")
        labels = None if label is None else np.full([len(images)], label, np.int32)
        return images, labels, [printable(pathlib.Path(path).name) for path in FLAGS.images]
    source = load_data(flow)
    wanted = [_index(text) for text in FLAGS.indices] if FLAGS.indices else range(FLAGS.num or default_num)
    found = {}
    for i, (image, of_image) in enumerate(_examples(source)):
        if i in wanted:
            found[i] = image, of_image
        if len(found) == len(set(wanted)):
            break
    missing = sorted(set(wanted) - set(found))
    if missing and (FLAGS.indices or not found):
        raise ValueError(f"The {FLAGS.split} split of {source.name} has no image {missing[0]}.")
    wanted = [i for i in wanted if i in found]
    labels = np.array([found[i][1] if label is None else label for i in wanted], np.int32)
    images = np.stack([found[i][0] for i in wanted])
    return images, labels if flow.config.conditional else None, [f"{FLAGS.split} {i}" for i in wanted]


def label_of_flags(flow: Flow) -> int | None:
    """The value of --label.

    Raises:
      ValueError: if the model takes none, or not this one.
    """
    if FLAGS.label is None:
        return None
    if not flow.config.conditional:
        raise ValueError("--label is for conditional models; this one is not.")
    if FLAGS.label >= flow.config.num_classes:
        raise ValueError(f"--label={FLAGS.label} must be less than {flow.config.num_classes}.")
    return FLAGS.label


def _leave_each_operation_one_core(config: ModelConfig) -> None:
    # As in training, not for RealNVP.
    if config.name == "glow":
        leave_each_operation_one_core(FLAGS.batch_size or default_batch_size(config), config.network_width)


def _examples(source: Source):
    for batch in split_batches(source, FLAGS.split, 16).as_numpy_iterator():
        yield from zip(batch["images"], batch["labels"], strict=True)


def _index(text: str) -> int:
    if not text.strip().isdigit():
        raise ValueError(f"--indices={','.join(FLAGS.indices)} must be numbers of images, from 0.")
    return int(text)
