"""The data set of a tool, as specified by flags."""

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

# Flags that have no meaning for picture files.
OF_DATA_SET = ("dataset", "data_dir", "test_fraction", "test_size", "upscale")
NAMES = (*OF_DATA_SET, "max_megapixels")
# Mutually exclusive arguments of `load_source`.
_HELD_OUT = {"test_fraction", "test_size"}


def load_data(flow: Flow, **other: Any) -> Source:
    """Loads the data set specified by the flags, at the size of the model's images.

    Args:
      flow: the model.
      **other: `name` and `data_dir` of another data set, to load instead of the one in the flags.

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
    """Returns the value of --limit, or None for all images."""
    return FLAGS.limit or None


def image_count(source: Source, split: str) -> int:
    """Returns the number of images of a split to use: all, or at most --limit."""
    return min(source.sizes[split], FLAGS.limit or source.sizes[split])


def _load_recorded(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> Source:
    """Loads a model's training data by the recorded arguments of `load_source`; given arguments take precedence."""
    others = {argument: value for argument, value in recorded.items() if argument not in _HELD_OUT}
    if given.keys() & _HELD_OUT:
        return load_source(**{**others, **given})
    try:
        return load_source(**{**recorded, **given})
    except OwnTestSplitError:
        # The data is not the recorded data, or it was recorded by a version that ignored these arguments.
        return load_source(**{**others, **given})


def _with_labels_of(flow: Flow, source: Source) -> Source:
    """Relabels data by the classes that a conditional model was trained on, if its own are a subset of them."""
    trained = model_directory.class_names(pathlib.Path(FLAGS.model_dir))
    own = source.class_names
    if not flow.config.conditional or not own or not set(own) <= set(trained) or not isinstance(source, IndexedSource):
        return source
    return source.with_classes(trained)
