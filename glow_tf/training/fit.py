"""Training from Python: the loop of `glow train` for a given flow and images."""

import contextlib
import dataclasses
import difflib
import os
import pathlib
import signal
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.arguments import at_least, one_of
from glow_tf.config import ModelConfig
from glow_tf.data import DataError, Source, arrays_in_memory, load_source, read_dataset, recipe
from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.runtime import paths
from glow_tf.training import model_directory
from glow_tf.training.config import TrainingConfig, defaults_for
from glow_tf.training.devices import current_strategy
from glow_tf.training.evaluation import Evaluation
from glow_tf.training.init_from import copy_variables
from glow_tf.training.loop import Trainer
from glow_tf.training.metrics import columns, read_metrics
from glow_tf.training.reports import BEST
from glow_tf.training.signals import TrainingStopped
from glow_tf.training.workers import Workers

Images = np.ndarray | tf.Tensor | tf.data.Dataset | Source | str | os.PathLike


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """Result of `fit`.

    Attributes:
      flow: the trained flow.
      evaluation: evaluation at the last step on all held-out images.
      history: metrics of the whole run by kind, `train` or `test`, and by name: `history["test"]["bits_per_dim"]` [N]
        at the steps `history["test"]["step"]` [N]. NaN where there is no number.
      steps: number of steps of the whole run.
      best_step: step of the best evaluation; 0 if there is none.
      best_bits_per_dim: its held-out bits/dim.
      stopped_early: whether `early_stop` ended the run.
      model_dir: the model directory; None if there is none.
    """

    flow: Flow
    evaluation: Evaluation
    history: Mapping[str, Mapping[str, np.ndarray]]
    steps: int
    best_step: int
    best_bits_per_dim: float
    stopped_early: bool
    model_dir: pathlib.Path | None

    @property
    def bits_per_dim(self) -> float:
        """Held-out bits/dim after the last step."""
        return self.evaluation.mean

    def __repr__(self) -> str:
        early = ", stopped early" if self.stopped_early else ""
        return f"<Fit {self.evaluation} held-out bits/dim after {self.steps:,} steps{early}>"


def fit(
    flow: Flow | ModelConfig,
    images: Images,
    labels: np.ndarray | tf.Tensor | None = None,
    *,
    held_out: float | Images | tuple[Images, Any] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    model_dir: str | os.PathLike | None = None,
    weights: str = "last",
    strategy: tf.distribute.Strategy | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Fit:
    """Trains a flow on images as `glow train` does, and leaves it with the moving averages of the weights.

    Calling it again trains further. With a `model_dir`, the run there is continued exactly where it stopped, up to
    `steps` in total, with its own settings unless others are given. Without one, a new run starts from the weights of
    the flow. Ctrl-C, or a notebook's stop button, ends the run between two steps: the flow gets the weights so far, and
    `KeyboardInterrupt` is raised.

    Args:
      flow: flow to train, new or already trained, or a config to create a new one from. Training works on a copy.
      images: uint8 images [N, H, W, C] or [N, H, W]; a `tf.data.Dataset` of such images, single or batched, with or
        without labels, which is read into memory; the path of a folder or of a `.npz` or `.npy` file; or a source from
        `glow_tf.data.load_source`.
      labels: integers [N] below the flow's `num_classes`, for a flow that uses labels and an array of images.
      held_out: images to evaluate on: the fraction of `images` to hold out (0.1 by default), or their number, taken
        from the end of arrays; or separate images, as a pair with their labels if there are any. None for a source,
        which has its own test split.
      steps: total number of updates; 100,000 by default.
      batch_size: images per update; by default it depends on their size, 64 at 32x32.
      learning_rate: learning rate of Adamax, or of another `optimizer`; 1e-3 by default.
      model_dir: directory for checkpoints, metrics, samples and the best weights. None to keep nothing: a temporary
        directory is used until the end.
      weights: weights of the flow at the end: those of the `last` step, or of the `best` evaluation.
      strategy: distribution strategy; by default that of the current scope, or else all GPUs, or the CPU.
      quiet: whether to hide the progress.
      **settings: other fields of `glow_tf.training.config.TrainingConfig`, such as `warmup_steps` (by default a tenth
        of the steps, at most 1000), `eval_every`, `early_stop`, `lr_schedule`, `ema_decay`, `flip` or `seed`.

    Returns:
      The `Fit`, with the held-out bits/dim and the history.

    Raises:
      DataError: if the images or labels are invalid or do not fit the flow.
      TypeError: if `flow` is neither a flow nor a config, or a setting is unknown.
      ValueError: if another argument is invalid, or the model directory holds another model or other data.
      KeyboardInterrupt: after Ctrl-C.
      DivergenceError: if the loss or gradient is repeatedly non-finite.
    """
    main = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    given = {**{name: value for name, value in main.items() if value is not None}, **settings}
    one_of("weights", weights, ("last", "best"))
    if isinstance(flow, ModelConfig):
        seed = given.get("seed", TrainingConfig.seed)
        at_least("seed", seed, 0)
        flow = Flow(flow, seed)
    _check_flow(flow)
    strategy = strategy or current_strategy()
    if model_dir is None and Workers(strategy).count > 1:
        raise ValueError("Several workers need a model_dir that they share.")
    storage.check_not_pretrained(model_dir, "model_dir")
    directory = None if model_dir is None else pathlib.Path(paths.for_tensorflow(model_dir, "model_dir"))
    before = model_directory.settings(directory) if directory else {}
    # The run may have been on another device before.
    before.pop("xla", None)
    if directory and "init_from" in given:
        begun_with, path = model_directory.started_from(directory), os.fspath(given["init_from"] or "")
        if begun_with is not None and model_directory.init_from(path) not in ("", begun_with):
            raise ValueError(f"init_from={path} is for a new run; the one in {directory} goes on with its own weights.")
        given["init_from"] = path if begun_with is None else begun_with
    name = images.name if isinstance(images, Source) else ""
    training = _training_config(flow, {**before, **given}, name, strategy.num_replicas_in_sync)
    source = training_source(flow.config, images, labels, held_out)
    _check_labels(flow.config, training, labels is not None)
    with _directory(directory) as run_dir:
        trainer = Trainer(
            flow.config,
            training,
            source,
            run_dir,
            strategy,
            runtime=flow.runtime,
            begin_with=flow,
            less_memory=f"A larger accumulate_steps than {training.accumulate_steps}, or a smaller batch_size than "
            f"{training.batch_size},",
            quiet=quiet,
        )
        evaluation = _run(trainer, flow)
        if weights == "best" and (run_dir / BEST).exists():
            copy_variables(storage.load(run_dir / BEST), flow)
        lines = list(read_metrics(run_dir))
    return Fit(
        flow=flow,
        evaluation=evaluation,
        history={kind: columns(lines, kind) for kind in ("train", "test")},
        steps=trainer.step,
        best_step=int(trainer.run_state.best_step),
        best_bits_per_dim=float(trainer.run_state.best_bits_per_dim.read_value()),
        stopped_early=trainer.stopped_early,
        model_dir=directory,
    )


def _run(trainer: Trainer, flow: Flow) -> Evaluation:
    try:
        evaluation = trainer.run()
    except TrainingStopped as stop:
        trainer.give_weights(flow)
        if stop.signal == signal.SIGINT:
            raise KeyboardInterrupt(f"Stopped at step {stop.step:,}; the flow has the weights of that step.") from None
        raise
    trainer.give_weights(flow)
    return evaluation


def _check_flow(flow: Flow) -> None:
    if not isinstance(flow, Flow):
        raise TypeError(
            f"flow must be a glow_tf.Flow or a ModelConfig, such as glow_tf.glow returns, not {flow!r:.100}."
        )
    if flow.config.n_bits is None or len(flow.config.image_shape) != 3:
        raise ValueError(
            f"fit trains flows of images of uint8; this one is of {flow.config.events} of {flow.config.image_shape}. "
            "Flow.value_and_gradients, or log_prob under a tf.GradientTape, serve a loop of your own."
        )
    if flow.dtype != tf.float32:
        raise ValueError(f"fit trains in float32, and this flow is of {flow.dtype.name}.")


def _training_config(flow: Flow, given: dict[str, Any], data: str, replicas: int) -> TrainingConfig:
    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}."
            raise TypeError(f"fit has no setting {name!r}; {hint}")
    for name in {"steps", "batch_size", "accumulate_steps"} & given.keys():
        at_least(name, given[name], 1)
    relevant = {name: given[name] for name in ("batch_size", "accumulate_steps", "optimizer") if name in given}
    defaults = {
        **defaults_for(flow.config.image_shape, replicas=replicas, **relevant),
        "flip": recipe(data).flip,
        "shift": recipe(data).shift,
        # Otherwise a run of few steps would never reach the learning rate.
        "warmup_steps": min(TrainingConfig.warmup_steps, given.get("steps", TrainingConfig.steps) // 10),
        "xla": flow.runtime.xla,
        "network_precision": flow.runtime.network_precision,
    }
    return TrainingConfig(**{**defaults, **given})


def training_source(
    config: ModelConfig,
    images: Images,
    labels: Any = None,
    held_out: Any = None,
) -> Source:
    """Returns a source for the images and labels passed to `fit`.

    Raises:
      DataError: if they are invalid or do not fit the flow of the config.
    """
    if labels is not None and isinstance(images, tf.data.Dataset | Source | str | os.PathLike):
        raise DataError("labels belong to an array of images; a data set, a folder or a file brings its own.")
    if isinstance(images, Source):
        if held_out is not None:
            raise DataError(f"{images.name} has a test split of its own; leave out held_out.")
        source = images
    elif isinstance(images, str | os.PathLike):
        source = _from_path(config, images, held_out)
    else:
        source = _in_memory(config, images, labels, held_out)
    if source.image_shape != config.image_shape:
        raise DataError(
            f"The images are of {source.image_shape} (height, width, channels), and the flow of {config.image_shape}: "
            "resize them, or make a flow of their shape."
        )
    return source


def _from_path(config: ModelConfig, path: str | os.PathLike, held_out: Any) -> Source:
    place = paths.local(path, "images")
    if not os.path.exists(place):
        raise DataError(
            f"images={place!r} is neither a folder nor a .npz or .npy file. Named data sets are loaded by "
            "glow_tf.data.load_source(name)."
        )
    if not (held_out is None or _is_number(held_out)):
        raise DataError("For a folder or a file, held_out is a fraction such as 0.1; leave it out for its test split.")
    height, width, channels = config.image_shape
    return load_source(
        "folder" if os.path.isdir(place) else "arrays",
        data_dir=place,
        image_size=(height, width),
        channels=channels,
        **_split_arguments(held_out),
    )


def _in_memory(config: ModelConfig, images: Any, labels: Any, held_out: Any) -> Source:
    images, labels = _arrays(images, labels, "images")
    if not _uses_labels(config):
        labels = None
    if held_out is None or _is_number(held_out):
        return arrays_in_memory(images, labels, num_classes=config.num_classes, **_split_arguments(held_out))
    test_images, test_labels = held_out if isinstance(held_out, tuple) and len(held_out) == 2 else (held_out, None)
    test_images, test_labels = _arrays(test_images, test_labels, "held_out")
    return arrays_in_memory(
        images,
        labels,
        test_images=test_images,
        test_labels=test_labels if _uses_labels(config) else None,
        num_classes=config.num_classes,
    )


def _arrays(images: Any, labels: Any, name: str) -> tuple[Any, Any]:
    if isinstance(images, Source | str | os.PathLike):
        raise DataError(f"{name} must be an array or a tf.data.Dataset here, not {images!r:.100}.")
    return read_dataset(images, name) if isinstance(images, tf.data.Dataset) else (images, labels)


def _is_number(held_out: Any) -> bool:
    return isinstance(held_out, int | float | np.number)


def _split_arguments(held_out: float | None) -> dict[str, float | None]:
    """Returns the keyword argument that says how many images are held out: a fraction or their number."""
    if held_out is None or 0 < held_out < 1:
        return {"test_fraction": None if held_out is None else float(held_out)}
    if isinstance(held_out, bool | float | np.floating) or held_out < 1:
        raise DataError(f"held_out={held_out!r} must be a fraction between 0 and 1, a number of images, or images.")
    return {"test_size": int(held_out)}


def _uses_labels(config: ModelConfig) -> bool:
    return config.conditional or config.classifier


def _check_labels(config: ModelConfig, training: TrainingConfig, given: bool) -> None:
    if given and not _uses_labels(config):
        raise DataError(
            "This flow uses no labels: leave them out, or make one that does, glow_tf.glow(shape, num_classes=10)."
        )
    if training.label_loss_weight and not config.classifier:
        raise ValueError(
            f"label_loss_weight={training.label_loss_weight!r} is for a flow with a classifier, such as "
            "glow_tf.glow(..., num_classes=10, classifier=True)."
        )


@contextlib.contextmanager
def _directory(path: pathlib.Path | None) -> Iterator[pathlib.Path]:
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="glow_tf_fit_") as folder:
        yield pathlib.Path(folder)
