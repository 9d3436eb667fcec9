"""Data set of a tool, by flags."""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from glow_tf.data import Source, load_source
from glow_tf.data.indexed import IndexedSource
from glow_tf.data.source import OwnTestSplitError
from glow_tf.models import storage
from glow_tf.models.flow import Flow
from glow_tf.training import model_directory

FLAGS = flags.FLAGS

NAMES = ("dataset", "data_dir", "test_fraction", "test_size", "upscale", "max_megapixels")
# Arguments of `load_source` of which at most one may be set.
_HELD_OUT = {"test_fraction", "test_size"}


def load_data(flow: Flow, **other: Any) -> Source:
    """Loads the data set of the flags in the size of the model's images.

    Args:
      flow: the model.
      **other: `name` and `data_dir` of another data set, instead of that of the flags.

    Raises:
      ValueError: if the data set does not exist, or none is set and the model does not record what it was trained on.
    """
    height, width, channels = flow.config.image_shape
    size = {"image_size": (height, width), "channels": channels}
    if other:
        return load_source(**{**other, **size, "upscale": FLAGS.upscale})
    names = {"name": "dataset", **{name: name for name in ("data_dir", "test_fraction", "test_size", "upscale")}}
    given = {argument: FLAGS[flag].value for argument, flag in names.items() if FLAGS[flag].value is not None}
    if "name" not in given:
        recorded = model_directory.source_arguments(pathlib.Path(FLAGS.model_dir))
        if FLAGS.model_dir in storage.PRETRAINED:
            recorded = {"name": "people"}
        if not recorded:
            raise ValueError(f"{FLAGS.model_dir} does not say what the model was trained on; set --dataset.")
        return _with_labels_of(flow, _load_recorded(recorded, {**given, **size}))
    return _with_labels_of(flow, load_source(**{**given, **size}))


def limit() -> int | None:
    """Returns the value of --limit, None for all images."""
    return FLAGS.limit or None


def image_count(source: Source, split: str) -> int:
    """Returns the number of images of a split that are used: all, or --limit."""
    return min(source.sizes[split], FLAGS.limit or source.sizes[split])


def _load_recorded(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> Source:
    """Loads the data a model was trained on, by recorded arguments of `load_source` over which given ones prevail."""
    others = {argument: value for argument, value in recorded.items() if argument not in _HELD_OUT}
    if given.keys() & _HELD_OUT:
        return load_source(**{**others, **given})
    try:
        return load_source(**{**recorded, **given})
    except OwnTestSplitError:
        # Of other data than was recorded, or recorded by a version that ignored these arguments.
        return load_source(**{**others, **given})


def _with_labels_of(flow: Flow, source: Source) -> Source:
    """Relabels data by the classes that a conditional model was trained on, if it has some of them."""
    trained = model_directory.class_names(pathlib.Path(FLAGS.model_dir))
    own = source.class_names
    if not flow.config.conditional or not own or not set(own) <= set(trained) or not isinstance(source, IndexedSource):
        return source
    return source.with_classes(trained)
