"""The flags of a run, which its directory records and `--resume` restores."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from glow_tf import options
from glow_tf.config import ModelConfig
from glow_tf.data import DataError, Source
from glow_tf.data.loading import HELD_OUT, load_recorded
from glow_tf.models import storage
from glow_tf.shared_flags import import_plugins
from glow_tf.training import model_directory
from glow_tf.training.config import TrainingConfig

FLAGS = flags.FLAGS

# Without `xla`, which by default depends on the device: it is recorded where it was given, like flags of the program.
_TRAINING_FLAGS = frozenset(field.name for field in dataclasses.fields(TrainingConfig)) - {"xla"}
_DATA_FLAGS = frozenset(
    {"dataset", "data_dir", "image_size", "channels", "crop_from", "upscale", "test_fraction", "test_size"}
)
_PROGRAM_FLAGS = frozenset(
    {
        "max_megapixels",
        "strategy",
        "num_replicas",
        "cluster",
        "cluster_port",
        "deterministic",
        "xla",
        "plugins",
        "export",
    }
)
# Flags for a single start, or aliases of other flags.
_NOT_RECORDED = frozenset({"model_dir", "resume", "other_data", "mixed_precision"})
# Flags that override a recorded one: its alias, its alternative, or the choice that it belongs to.
_OVERRIDDEN_BY = {
    "network_precision": "mixed_precision",
    "strategy": "cluster",
    **dict.fromkeys(("cluster", "cluster_port", "num_replicas"), "strategy"),
    "test_fraction": "test_size",
    "test_size": "test_fraction",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded:
    """A run to resume: its model, and whether the recorded flags describe it.

    Attributes:
      directory: its model directory.
      config: its model.
      by_flags: whether the recorded flags describe that model, as they do unless the run was started from Python.
    """

    directory: pathlib.Path
    config: ModelConfig
    by_flags: bool


def is_continued(directory: pathlib.Path) -> bool:
    """Returns whether to continue a directory's run from its record.

    This is the case with --resume, or if --model_dir is given without any data or model flags and has such a record.
    """
    if FLAGS.resume:
        return True
    describing = _DATA_FLAGS | (set(_recorded_names()) - _PROGRAM_FLAGS)
    return (
        FLAGS["model_dir"].present > 0
        and not any(FLAGS[name].present for name in describing)
        and (directory / model_directory.TRAINING_FILE).exists()
    )


def restore(directory: pathlib.Path) -> Recorded:
    """Sets the flags that were not given to those of the run in a directory, and imports the modules of its model.

    Raises:
      ValueError: if there is no run, its record cannot be read or does not name the data, or its model is not one of
        images.
    """
    run = model_directory.load_run(directory)
    recorded = {name: _parsed(directory, name, value) for name, value in run.flags.items() if name in _recorded_names()}
    if not FLAGS["plugins"].present:
        import_plugins([*recorded.get("plugins", ()), *storage.own_modules(directory)])
    config = storage.load_config(directory)
    if config.events != "images":
        raise ValueError(f"{directory} holds a model of {config.events}; this program trains models of images.")
    if not run.source and not FLAGS["dataset"].present:
        raise ValueError(f"{directory} does not say how its data is loaded; set --dataset, and --data_dir if need be.")
    for name, value in {**_data(run.source, config), **_settings(run.training), **recorded}.items():
        if not FLAGS[name].present and not (name in _OVERRIDDEN_BY and FLAGS[_OVERRIDDEN_BY[name]].present):
            FLAGS[name].value = value
    return Recorded(directory=directory, config=config, by_flags="model" in recorded)


def load_data(directory: pathlib.Path) -> Source:
    """Loads the data that the flags describe.

    If a run in the directory continues, its model's labels keep their meaning, and a recorded fraction to hold out is
    dropped where other data has a test split of its own or fewer images.

    Raises:
      DataError: as for `load_source`; or if the model does not know the classes of other data.
    """
    arguments = options.source_arguments()
    recorded = {name: arguments.pop(name) for name in HELD_OUT if not FLAGS[name].present}
    source = load_recorded(recorded, arguments)
    for name in recorded:
        FLAGS[name].value = source.arguments.get(name)
    if (directory / storage.CONFIG_FILE).exists():
        config = storage.load_config(directory)
        if config.conditional or config.classifier:
            try:
                return model_directory.with_classes(directory, source)
            except DataError:
                if FLAGS.other_data:
                    raise
                # The check of the directory says in what the data differ.
    return source


def model_config(recorded: Recorded | None, source: Source) -> ModelConfig:
    """Returns the model that the flags describe or, if a run is continued without model flags, that of the run.

    Raises:
      ValueError: as for `options.model_config`; or if model flags are given for a model that flags do not describe.
    """
    if recorded is None:
        return options.model_config(source.image_shape, source.num_classes)
    given = _given_model_flags(recorded.config, source)
    if recorded.by_flags and given:
        return options.model_config(source.image_shape, source.num_classes)
    if set(given) - {"gradient"}:
        listed = ", ".join(f"--{name}" for name in given)
        raise ValueError(
            f"{listed}: {recorded.directory} holds a model that is not made by flags, and goes on as it is. Leave them "
            "out, or choose another --model_dir."
        )
    return dataclasses.replace(recorded.config, gradient=FLAGS.gradient or recorded.config.gradient)


def of_run(recorded: Recorded | None) -> dict[str, Any]:
    """Returns the flags to record: those not at their defaults, except those of the data and of `TrainingConfig`.

    `model` is always included, unless flags do not describe the model.
    """
    by_flags = recorded is None or recorded.by_flags
    names = [name for name in _recorded_names() if by_flags or name in _PROGRAM_FLAGS]
    values = {name: FLAGS[name].value for name in names}
    return {name: value for name, value in values.items() if name == "model" or value != FLAGS[name].default}


def flagfile(recorded: Recorded | None, config: ModelConfig, training: TrainingConfig, source: Source) -> list[str]:
    """Returns the lines of a flagfile that repeats a run in another model directory.

    They are the flags that are not at their defaults, and those of `TrainingConfig` whose defaults depend on data and
    devices. If flags do not describe the model, there are none.
    """
    if recorded is not None and not recorded.by_flags:
        return []
    # Recorded paths do not depend on the working directory.
    paths = {"data_dir": source.arguments.get("data_dir"), "init_from": model_directory.init_from(training.init_from)}
    values = {**{name: FLAGS[name].value for name in _DATA_FLAGS}, **_settings(training), **paths}
    values |= of_run(recorded)
    if training.optimizer != "adamw":
        del values["weight_decay"]
    if not config.is_initialized_from_data:
        del values["init_images"]
    given = {name: values[name] for name in _names() if values.get(name) is not None}
    return [_line(name, value) for name, value in given.items() if value != FLAGS[name].default]


def _settings(training: TrainingConfig) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(training).items() if name in _TRAINING_FLAGS}


def _names() -> list[str]:
    return [flag.name for flag in FLAGS.flags_by_module_dict()[options.__name__]]


def _recorded_names() -> list[str]:
    """Returns the names of the recorded flags besides those of the data and of `TrainingConfig`."""
    return [name for name in _names() if name not in _TRAINING_FLAGS | _DATA_FLAGS | _NOT_RECORDED]


def _given_model_flags(config: ModelConfig, source: Source) -> list[str]:
    names = [name for name in _recorded_names() if name not in _PROGRAM_FLAGS]
    # These describe data and training too, and may be given if they match the model.
    if source.image_shape != config.image_shape:
        names += ["image_size", "channels"]
    if config.classifier != (FLAGS.label_loss_weight > 0):
        names.append("label_loss_weight")
    return [name for name in names if FLAGS[name].present]


def _data(source: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Returns the flags for recorded arguments of `load_source`; for other data, only image size and channels."""
    if FLAGS["dataset"].present and FLAGS.dataset != source.get("name"):
        height, width, channels = config.image_shape
        return {"image_size": [str(height), str(width)], "channels": channels}
    values = {"dataset" if name == "name" else name: value for name, value in source.items()}
    if "image_size" in values:
        size = values["image_size"]
        values["image_size"] = [str(side) for side in (size if isinstance(size, list) else [size])]
    return values


def _line(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    line = f"--{name}={','.join(value) if isinstance(value, list) else value}"
    if line != line.strip() or "\n" in line or "\r" in line:
        return f"# Also give this flag, which no line of a flagfile can hold: --{name}={json.dumps(value)}"
    return line


def _parsed(directory: pathlib.Path, name: str, value: Any) -> Any:
    try:
        return FLAGS[name].parser.parse(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{directory / model_directory.TRAINING_FILE}: flags.{name}={value!r}: {error}") from error
