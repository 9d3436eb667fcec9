"""Flags of a run, which its directory records: `--resume` sets them again."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from glow_tf import options
from glow_tf.config import ModelConfig
from glow_tf.data import Source
from glow_tf.models import storage
from glow_tf.shared_flags import import_plugins
from glow_tf.training import model_directory
from glow_tf.training.config import TrainingConfig

FLAGS = flags.FLAGS

_OF_TRAINING = frozenset(field.name for field in dataclasses.fields(TrainingConfig))
_OF_DATA = frozenset(
    {"dataset", "data_dir", "image_size", "channels", "crop_from", "upscale", "test_fraction", "test_size"}
)
_OF_PROGRAM = frozenset(
    {"max_megapixels", "strategy", "num_replicas", "cluster", "cluster_port", "deterministic", "plugins", "export"}
)
# Of one start alone, or another name of a flag.
_NOT_RECORDED = frozenset({"model_dir", "resume", "other_data", "mixed_precision"})
# Flags in whose presence a recorded one does not hold: its other name, what its default goes by, or its alternative.
_INSTEAD = {
    "network_precision": "mixed_precision",
    "weight_decay": "optimizer",
    "test_fraction": "test_size",
    "test_size": "test_fraction",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded:
    """A run to resume: its model, and whether the recorded flags describe it.

    Attributes:
      directory: its model directory.
      config: its model.
      by_flags: whether the recorded flags describe that model, as they do unless the run was begun in Python.
    """

    directory: pathlib.Path
    config: ModelConfig
    by_flags: bool


def is_continued(directory: pathlib.Path) -> bool:
    """Returns whether the run in a directory goes on by its record: --resume, or flags of neither data nor model."""
    if FLAGS.resume:
        return True
    describing = _OF_DATA | (set(_others()) - _OF_PROGRAM)
    return (
        FLAGS["model_dir"].present > 0
        and not any(FLAGS[name].present for name in describing)
        and (directory / model_directory.TRAINING_FILE).exists()
    )


def restore(directory: pathlib.Path) -> Recorded:
    """Sets the flags that were not given to what the run in a directory had, and imports the modules of its model.

    Raises:
      ValueError: if there is no run, or its record cannot be read.
    """
    run = model_directory.load_run(directory)
    recorded = {name: _parsed(directory, name, value) for name, value in run.flags.items() if name in _others()}
    if not FLAGS["plugins"].present:
        import_plugins([*recorded.get("plugins", ()), *storage.own_modules(directory)])
    config = storage.load_config(directory)
    if config.events != "images":
        raise ValueError(f"{directory} holds a model of {config.events}; this program trains models of images.")
    if not run.source and not FLAGS["dataset"].present:
        raise ValueError(f"{directory} does not say how its data is loaded; set --dataset, and --data_dir if need be.")
    for name, value in {**_data(run.source, config), **dataclasses.asdict(run.training), **recorded}.items():
        if not FLAGS[name].present and not (name in _INSTEAD and FLAGS[_INSTEAD[name]].present):
            FLAGS[name].value = value
    return Recorded(directory=directory, config=config, by_flags="model" in recorded)


def model_config(recorded: Recorded | None, source: Source) -> ModelConfig:
    """Returns the model of the flags, or of the run that goes on; of the flags too where some are given for its model.

    Raises:
      ValueError: as `options.model_config`; or if flags are given for a model that no flags describe.
    """
    if recorded is None:
        return options.model_config(source.image_shape, source.num_classes)
    given = _given_for_the_model(recorded.config, source)
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
    """Returns the flags to record: those not at their defaults, besides those of the data and of `TrainingConfig`.

    With them always `model`, unless it is a model that no flags describe.
    """
    by_flags = recorded is None or recorded.by_flags
    names = [name for name in _others() if by_flags or name in _OF_PROGRAM]
    values = {name: FLAGS[name].value for name in names}
    return {name: value for name, value in values.items() if name == "model" or value != FLAGS[name].default}


def flagfile(recorded: Recorded | None, training: TrainingConfig, source: Source) -> list[str]:
    """Returns the lines of a flagfile that repeats a run in another model directory.

    These are the flags that are not at their defaults, and those of `TrainingConfig` whose defaults depend on data and
    devices. Where no flags describe the model there are none.
    """
    if recorded is not None and not recorded.by_flags:
        return []
    # As recorded, paths do not depend on the working directory.
    paths = {"data_dir": source.arguments.get("data_dir"), "init_from": model_directory.init_from(training)}
    values = {**{name: FLAGS[name].value for name in _OF_DATA}, **dataclasses.asdict(training), **paths}
    values |= of_run(recorded)
    if training.optimizer != "adamw":
        del values["weight_decay"]
    given = {name: values[name] for name in _names() if values.get(name) is not None}
    return [_line(name, value) for name, value in given.items() if value != FLAGS[name].default]


def _names() -> list[str]:
    return [flag.name for flag in FLAGS.flags_by_module_dict()[options.__name__]]


def _others() -> list[str]:
    """Names of the flags of the model and of the program."""
    return [name for name in _names() if name not in _OF_TRAINING | _OF_DATA | _NOT_RECORDED]


def _given_for_the_model(config: ModelConfig, source: Source) -> list[str]:
    names = [name for name in _others() if name not in _OF_PROGRAM]
    # These describe data and training too, and may be given if they fit the model.
    if source.image_shape != config.image_shape:
        names += ["image_size", "channels"]
    if config.classifier != (FLAGS.label_loss_weight > 0):
        names.append("label_loss_weight")
    return [name for name in names if FLAGS[name].present]


def _data(source: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Returns the flags of recorded arguments of `load_source`; of other data those of its size alone."""
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
        return f"# Give this besides, which no line of a flagfile can hold: --{name}={json.dumps(value)}"
    return line


def _parsed(directory: pathlib.Path, name: str, value: Any) -> Any:
    try:
        return FLAGS[name].parser.parse(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{directory / model_directory.TRAINING_FILE}: flags.{name}={value!r}: {error}") from error
