"""The data set of a command, as specified by flags."""

from collections.abc import Mapping
from typing import Any

from absl import flags

from glow_tf.commands import model_flags
from glow_tf.data import Source, load_source
from glow_tf.data.loading import load_recorded
from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.training import model_directory

FLAGS = flags.FLAGS

# Flags that have no meaning for picture files.
OF_DATA_SET = ("dataset", "data_dir", "test_fraction", "test_size")
NAMES = (*OF_DATA_SET, "crop_from", "upscale", "max_megapixels")


def load_data(flow: Flow, *, name: str | None = None, data_dir: str | None = None, with_labels: bool = True) -> Source:
    """Loads the data set specified by the flags, at the size of the model's images.

    What flags leave out is as recorded with the model, if it was trained on this data set.

    Args:
      flow: the model.
      name, data_dir: another data set, to load instead of the one in the flags.
      with_labels: whether the labels are given to the model, if it is conditional, and must be as in training.

    Raises:
      ValueError: if the data set does not exist, or none is set and the model does not record what it was trained on;
        or if a conditional model does not know its labels.
    """
    height, width, channels = flow.config.image_shape
    size = {"image_size": (height, width), "channels": channels}
    recorded = _recorded()
    if name is not None:
        return load_source(name, data_dir, **size, **_how_fitted(recorded, name))
    names = {"name": "dataset", **{name: name for name in ("data_dir", "test_fraction", "test_size")}}
    given = {argument: FLAGS[flag].value for argument, flag in names.items() if FLAGS[flag].value is not None}
    if "name" not in given and not recorded:
        raise ValueError(f"{FLAGS.model_dir} does not say what the model was trained on; set --dataset.")
    name = given.get("name", recorded.get("name")).strip()
    given |= {**size, **_how_fitted(recorded, name)}
    source = load_recorded(recorded, given) if name == recorded.get("name") else load_source(**given)
    return _with_labels_of(flow, source) if flow.config.conditional and with_labels else source


def fitting() -> dict[str, Any]:
    """Returns how pictures are brought to the size of the model: `crop_from` and `upscale` of `load_images`."""
    found = _how_fitted(_recorded(), "folder")
    return {**found, "upscale": bool(found["upscale"])}


def limit() -> int | None:
    """Returns the value of --limit, or None for all images."""
    return FLAGS.limit or None


def image_count(source: Source, split: str) -> int:
    """Returns the number of images of a split to use: all, or at most --limit."""
    return min(source.sizes[split], FLAGS.limit or source.sizes[split])


def _recorded() -> dict[str, Any]:
    """Returns the arguments of `load_source` for the data that the model was trained on; {} if they are unknown."""
    if FLAGS.model_dir in storage.PRETRAINED:
        return {"name": "people"}
    return model_directory.source_arguments(model_flags.run_directory())


def _how_fitted(recorded: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns `crop_from` and `upscale` of `load_source` for a data set.

    By default, pictures in folders are fitted as those that the model was trained on; other data sets than that of the
    training have sizes of their own.
    """
    found = {"crop_from": FLAGS.crop_from, "upscale": FLAGS.upscale}
    if name in ("folder", recorded.get("name")):
        run = {"crop_from": model_flags.crop_from(), "upscale": recorded.get("upscale")}
        found = {argument: run[argument] if value is None else value for argument, value in found.items()}
    return found


def _with_labels_of(flow: Flow, source: Source) -> Source:
    """Numbers the labels of data as those that a conditional model was trained on. Raises ValueError."""
    classes = flow.config.num_classes
    if not source.num_classes:
        raise ValueError(
            f"This model is conditional, and {source.name} has no labels: sort the images into a sub-folder for each "
            f"of its {classes} classes, or add an array of labels."
        )
    found = model_directory.with_classes(model_flags.run_directory(), source)
    if found.num_classes != classes:
        raise ValueError(
            f"{source.name} has {found.num_classes} classes and the model {classes}, whose names are not known: use "
            "data with all of them, or the directory that the model was trained in, which records the names."
        )
    return found
