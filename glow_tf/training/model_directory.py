"""Metadata of a model directory: its model, the settings of its last training run, and the data."""

import dataclasses
import inspect
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from glow_tf import description
from glow_tf.config import ModelConfig
from glow_tf.data import Source, load_source, recipe
from glow_tf.data.images import parse_size
from glow_tf.data.indexed import IndexedSource
from glow_tf.data.names import listed, normalized
from glow_tf.data.source import DataError, own_name
from glow_tf.models import storage
from glow_tf.runtime import json_files, text
from glow_tf.runtime.files import atomic_write
from glow_tf.training.config import TrainingConfig

TRAINING_FILE = "training.json"
# Size limit of `training.json`, which has the names of all classes.
_MOST_BYTES = 2**26
_IN_NO_NAME = re.compile(r"[^\w.-]+")
# Fields that say how the model is computed, not what it is: a run may continue with another value.
_COMPUTATION = ("gradient",)
# Field of networks that affects training alone: a run may continue with another value.
_DROPOUT = "dropout"
# Settings that do not affect the weights, or no longer do once the run has begun.
_REPORTING = frozenset(
    {
        "steps",
        "steps_per_call",
        "log_every",
        "eval_every",
        "eval_images",
        "early_stop",
        "sample_every",
        "samples",
        "temperature",
        "checkpoint_every",
        "checkpoint_minutes",
        "keep_checkpoints",
        "keep_every_hours",
        "init_from",
        "identity",
        "source",
        "tracker",
    }
)
# Settings that older versions did not have; the defaults are what those versions did.
_ADDED = ("lr_schedule", "beta1", "beta2", "epsilon", "weight_decay", "labels_per_class", "labelled_only")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Record of the last training run in a model directory: settings, data and other flags.

    Attributes:
      training: the training settings.
      source: arguments of `glow_tf.data.load_source` for its data; {} if unknown.
      flags: other non-default flags of `glow train`, by name; a program other than `glow train`
        keeps them, except for those of the devices.
    """

    training: TrainingConfig
    source: Mapping[str, Any]
    flags: Mapping[str, Any]


def default_path(dataset: str, data_dir: str | None, model: str) -> pathlib.Path:
    """Returns the default model directory, named after the data set, or its folder or file, and the model."""
    if data_dir:
        dataset = own_name(dataset, pathlib.Path(data_dir).resolve())
    return pathlib.Path("runs") / f"{_IN_NO_NAME.sub('_', dataset)}_{model}"


def check(
    directory: pathlib.Path,
    config: ModelConfig,
    training: TrainingConfig,
    source: Source,
    *,
    other_data: bool = False,
) -> list[str]:
    """Checks that a directory is new, or holds this model and a run that can continue with these settings.

    Args:
      directory: the model directory.
      config: the model.
      training: the training settings.
      source: the data.
      other_data: whether the run may continue on different data.

    Returns:
      A line for each setting that differs from the run that is continued.

    Raises:
      ValueError: if the directory belongs to another model, to an optimizer with other state, or to other data; the
        message names what differs.
    """
    changed = []
    if (directory / storage.CONFIG_FILE).exists():
        recorded = storage.load_config(directory)
        other = differences(recorded, config)
        if other:
            raise ValueError(_other(directory, "another model", other))
        changed = _changed_dropout(recorded, config)
    before = _load(directory / TRAINING_FILE)
    if before is None:
        return changed
    now = _fields(training, source)
    _check_optimizer(directory, before, now)
    _check_data(directory, before, now, other_data)
    return changed + [f"{name}: {old} -> {new}" for name, (old, new) in _changed_settings(before, now).items()]


def differences_from_run(
    directory: pathlib.Path, config: ModelConfig, training: TrainingConfig, source: Source
) -> list[str]:
    """Returns a line for each property in which the run in a directory differs from another one.

    It is stricter than `check`, for results that are reported under these settings: everything that affects the weights
    counts, except for `xla`, as a run may be continued on another device. The number of steps only counts if the
    learning rate depends on it.

    Args:
      directory: the model directory; [] is returned if there is no run in it.
      config, training, source: the other run.
    """
    lines = []
    if (directory / storage.CONFIG_FILE).exists():
        recorded = storage.load_config(directory)
        lines += recorded.differences(config, ignored=lambda path: path in _COMPUTATION)
    before = _load(directory / TRAINING_FILE)
    if before is None:
        return lines
    now = _fields(training, source)
    if before.get("identity") not in (None, now["identity"]):
        lines += _differing_data(before, now)
    left_out = {"xla"} if before.get("identity") is None else {"xla", "data"}
    changed = _changed_settings(before, now).items()
    return lines + [f"{name}: {old} vs. {new}" for name, (old, new) in changed if name not in left_out]


def check_before_loading(
    directory: pathlib.Path, data_set: str, optimizer: str, ema_decay: float, *, other_data: bool = False
) -> None:
    """Performs the checks of `check` that do not need the data, which can take hours to download and prepare.

    Raises:
      ValueError: as `check`.
    """
    before = _load(directory / TRAINING_FILE)
    if before is not None:
        _check_optimizer(directory, before, {"optimizer": optimizer, "ema_decay": ema_decay})
        identity = before.get("identity") or {}
        now = {"identity": {**identity, "data set": data_set}, "source": before.get("source", {})}
        _check_data(directory, before, now, other_data)


def differences(config: ModelConfig, other: ModelConfig) -> list[str]:
    """Returns `ModelConfig.differences`, without fields that change neither the variables nor the likelihood."""
    return config.differences(other, ignored=lambda path: path in _COMPUTATION or _is_dropout(path))


def write_metadata(
    directory: pathlib.Path,
    config: ModelConfig,
    training: TrainingConfig,
    source: Source,
    flags: Mapping[str, Any] | None = None,
) -> None:
    """Writes `config.json` and `training.json`, each atomically; `flags` as in `Run`."""
    storage.save_config(config, directory)
    fields = {**_fields(training, source), "init_from": init_from(training.init_from)}
    if source.arguments.get("data_dir"):
        # The data and the directory may be moved together.
        fields["data_dir_from_here"] = os.path.relpath(source.arguments["data_dir"], directory)
    fields["flags"] = dict(flags or {})
    with atomic_write(directory / TRAINING_FILE) as temporary:
        text.write(temporary, json.dumps(fields, indent=2) + "\n")


def load_run(directory: pathlib.Path) -> Run:
    """Returns the record of the last training run in a model directory.

    Raises:
      ValueError: if there is no run, or its record cannot be read; the message names the field.
    """
    file = directory / TRAINING_FILE
    try:
        fields = json_files.read_object(file, _MOST_BYTES)
    except FileNotFoundError:
        if not (directory / storage.CONFIG_FILE).exists():
            raise ValueError(
                f"{directory} holds no run to go on with. Set the --model_dir of one, or leave out --resume to begin."
            ) from None
        raise ValueError(
            f"{directory} holds a model and no {TRAINING_FILE} to say how it was trained. Go on by the command its run "
            f"was begun with, or begin a new one with these weights by --init_from={directory}."
        ) from None
    except NotADirectoryError:
        raise ValueError(f"{directory} is a file and not a model directory.") from None
    settings = {field.name for field in dataclasses.fields(TrainingConfig)} & fields.keys()
    missing = {"batch_size", "optimizer", "steps"} - settings
    if missing:
        raise ValueError(f"{file} is not a record of a run: {min(missing)} is missing.")
    training = description.construct(TrainingConfig, f"{file}: ", {name: fields[name] for name in settings})
    flags = fields.get("flags", {})
    if not isinstance(flags, dict):
        raise ValueError(f"{file}: flags={flags!r} must be an object, {{...}}.")
    return Run(training=training, source=source_arguments(directory), flags=flags)


def source_arguments(directory: pathlib.Path) -> dict:
    """Returns the arguments of `glow_tf.data.load_source` for the data of the last training run; {} if unknown.

    Data that is no longer in its place is looked for at its previous path relative to the directory.
    """
    fields = _load(directory / TRAINING_FILE) or {}
    found = fields.get("source", {})
    names = isinstance(found.get("name"), str) and isinstance(found.get("data_dir"), str | None)
    if not names or not found.keys() <= inspect.signature(load_source).parameters.keys():
        return {}
    place, from_here = found.get("data_dir"), fields.get("data_dir_from_here")
    if place and isinstance(from_here, str) and not os.path.exists(place):
        moved = os.path.abspath(directory / from_here)
        return {**found, "data_dir": moved} if os.path.exists(moved) else found
    return found


def crop_from(directory: pathlib.Path) -> int | None:
    """Returns the side of the squares that the pictures of the last training run were cropped from.

    None if they were not cropped, or that is unknown.
    """
    found = source_arguments(directory)
    usual = recipe(found.get("name", ""))
    has_usual_size = parse_size(found.get("image_size", usual.image_size)) == parse_size(usual.image_size)
    return found.get("crop_from", usual.crop_from if has_usual_size else None)


def flags(directory: pathlib.Path) -> dict:
    """Returns the flags of the last training run, as in `Run`; {} if there was none, or they are unknown."""
    found = (_load(directory / TRAINING_FILE) or {}).get("flags")
    return found if isinstance(found, dict) else {}


def max_megapixels(directory: pathlib.Path) -> float | None:
    """Returns the size limit of pictures in the last training run, in 10^6 pixels; None if it was not set."""
    found = flags(directory).get("max_megapixels")
    return found if isinstance(found, float | int) else None


def with_classes(directory: pathlib.Path, source: Source) -> Source:
    """Numbers the labels of data as those that the model in a directory was trained with; their names are compared.

    Raises:
      DataError: if there are classes that the model does not know, or data that cannot be relabelled has only some.
    """
    trained = class_names(directory)
    known, own = ([normalized(name) for name in names] for names in (trained, source.class_names))
    if not trained or not own or own == known:
        return source
    unknown = [name for name in own if name not in known]
    if unknown:
        raise DataError(
            f"{source.name} has classes that the model in {directory} does not know: {listed(unknown)}. Leave them "
            f"out, or name them as there: {listed(trained)}."
        )
    if not isinstance(source, IndexedSource):
        raise DataError(
            f"{source.name} has {len(own)} of the {len(trained)} classes that the model in {directory} knows, and "
            "cannot be relabelled; use --dataset=folder or arrays."
        )
    return source.with_classes(trained)


def init_from(path: str) -> str:
    """Returns an `init_from` as a path that does not depend on the working directory."""
    return path if not path or path in storage.PRETRAINED else os.path.abspath(path)


def started_from(directory: pathlib.Path) -> str | None:
    """Returns the `init_from` that the run in a directory began with; None if there is no run to continue."""
    recorded = settings(directory).get("init_from")
    return recorded if isinstance(recorded, str) and storage.checkpoint_paths(directory) else None


def settings(directory: pathlib.Path) -> dict:
    """Returns the `TrainingConfig` fields of the last training run; {} if there was none, or they are unknown."""
    found = _load(directory / TRAINING_FILE) or {}
    return {field.name: found[field.name] for field in dataclasses.fields(TrainingConfig) if field.name in found}


def identity(directory: pathlib.Path) -> dict | None:
    """Returns `Source.identity` of the data of the last training run; None if there was none, or it is unknown."""
    return (_load(directory / TRAINING_FILE) or {}).get("identity")


def class_names(directory: pathlib.Path) -> list[str]:
    """Returns the class names a model was last trained with; [] if there were none, or they are unknown."""
    classes = (identity(directory) or {}).get("classes")
    return classes if isinstance(classes, list) else []


def _fields(training: TrainingConfig, source: Source) -> dict:
    return {
        "data": source.describe(),
        **dataclasses.asdict(training),
        "source": dict(source.arguments),
        "identity": source.identity(),
    }


def _is_dropout(path: str) -> bool:
    return path.rpartition(".")[2] == _DROPOUT


def _changed_dropout(before: ModelConfig, now: ModelConfig) -> list[str]:
    """Returns a line for each change of dropout; the networks of a preset share one."""
    old, new = before.flattened(), now.flattened()
    changes = {(old[path], new[path]) for path in old.keys() & new.keys() if _is_dropout(path)}
    return [f"{_DROPOUT}: {one} -> {other}" for one, other in sorted(changes) if one != other]


def _changed_settings(before: dict, now: dict) -> dict[str, tuple[Any, Any]]:
    """Returns the old and the new value of each setting that differs and affects the weights, by name."""
    before = {name: getattr(TrainingConfig(), name) for name in _ADDED} | before
    # A schedule depends on the number of steps.
    without_influence = _REPORTING if now["lr_schedule"] == "constant" else _REPORTING - {"steps"}
    changed = {name: (before.get(name), value) for name, value in now.items() if before.get(name) != value}
    return {name: values for name, values in changed.items() if name not in without_influence}


def _check_optimizer(directory: pathlib.Path, before: dict, now: dict) -> None:
    averages = [{**fields, "ema_decay": fields["ema_decay"] > 0} for fields in (before, now)]
    names = [name for name in ("optimizer", "ema_decay") if averages[0][name] != averages[1][name]]
    if names:
        lines = [f"{name}: {before[name]} vs. {now[name]}" for name in names]
        raise ValueError(_other(directory, "a run with another optimizer", lines))


def _check_data(directory: pathlib.Path, before: dict, now: dict, other_data: bool) -> None:
    if before.get("identity") not in (None, now["identity"]) and not other_data:
        raise ValueError(
            _other(directory, "a run on other data", _differing_data(before, now))
            + "\nTo continue the run on this data anyway, set --other_data."
        )


def _differing_data(before: dict, now: dict) -> list[str]:
    """Returns a line for each property in which two data sets differ, their location included."""
    places = [fields.get("source", {}).get("data_dir") for fields in (before, now)]
    lines = [] if places[0] == places[1] else [f"data_dir: {places[0]} vs. {places[1]}"]
    here, there = before["identity"], now["identity"]
    for name in {**here, **there}:
        if here.get(name) == there.get(name):
            continue
        if name == "images":
            lines.append("images: others, or other names or labels")
        else:
            lines.append(f"{name}: {_shown(here.get(name))} vs. {_shown(there.get(name))}")
    return lines


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value[:5]))}{', ...' if len(value) > 5 else ''}"
    return str(value)


def _load(file: pathlib.Path) -> dict | None:
    try:
        fields = json_files.read_object(file, _MOST_BYTES)
    except (FileNotFoundError, ValueError):
        # The file is only a record; whether the model fits is checked again when a checkpoint is read.
        return None
    kinds = {"optimizer": str, "ema_decay": int | float, "source": dict, "identity": dict | None}
    # Older versions wrote neither `source` nor `identity`.
    found = {"source": {}, "identity": None, **fields}
    return fields if all(name in found and isinstance(found[name], kind) for name, kind in kinds.items()) else None


def _other(directory: pathlib.Path, what: str, lines: list[str]) -> str:
    listed = "\n  ".join(lines[:20])
    return (
        f"{directory} holds {what}. Choose another --model_dir, or the flags it was made with, which --resume sets. "
        f"Recorded vs. requested:\n  {listed}"
    )
