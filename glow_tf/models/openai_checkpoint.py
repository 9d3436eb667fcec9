"""Import of weights from the official TF1 code (github.com/openai/glow) into a `Flow`.

The official model names its variables model/<level>/<step>/..., model/pool<level>/..., model/prior/... and
model/classifier/...; here the variables of the steps of a level are stacked.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf import parameters
from glow_tf.config import ModelConfig
from glow_tf.models import presets
from glow_tf.models.flow import Flow
from glow_tf.models.variables import layer_name
from glow_tf.official import OfficialVariable, zero_layer_variables

_EMA_SUFFIX = "/ExponentialMovingAverage"
_STEP = re.compile(r"model/(\d+)/(\d+)/f1/l_1/W")


def import_openai_checkpoint(path: str, config: ModelConfig) -> Flow:
    """Returns a flow with the weights of a checkpoint written by the official code.

    Args:
      path: the checkpoint's prefix, as `tf.train.load_checkpoint` takes it (`model_best_loss.ckpt`).
      config: the config from `glow_tf.glow` for the flags of the run: `permutation` (0 `reverse`, 1 `shuffle`, 2
        `conv1x1` or `conv1x1_dense`), `coupling` (0 `additive`, 1 `affine`), K=depth, L=n_levels, width,
        n_bits=n_bits_x, learn_top=learntop, num_classes=n_y for ycond, classifier=True for weight_y > 0. The dense 1x1
        convolutions of the checkpoint are kept as they are with `conv1x1_dense` and factored with `conv1x1`.

    Returns:
      The initialised flow. Variables that the flow does not use (optimizer slots) are ignored; if a checkpoint holds
      only the moving averages of the weights, these are used.

    Raises:
      ValueError: if the checkpoint cannot be read, lacks variables of the flow, or has them in another shape; the
        message names them. Also if `config` is not a Glow.
    """
    reader = _reader(path)
    shapes = reader.get_variable_to_shape_map()
    arrays = _LazyArrays({name.removesuffix(_EMA_SUFFIX): name for name in shapes} | {n: n for n in shapes}, reader)
    return flow_from_arrays(arrays, config)


def openai_config(
    path: str, image_size: int | tuple[int, int], n_bits: int = 8, *, permutation: str = "conv1x1"
) -> ModelConfig:
    """Returns the configuration of an official model, inferred from the variables of its checkpoint.

    Args:
      path: the checkpoint's prefix.
      image_size: side of the images in pixels, or (height, width), which no variable reveals.
      n_bits: bits per channel, `n_bits_x` in the official code, which no variable reveals.
      permutation: `conv1x1` or `conv1x1_dense`, the form in which to store learned 1x1 convolutions.

    Raises:
      ValueError: if the checkpoint cannot be read, or is not of an official Glow.
    """
    shapes = {name.removesuffix(_EMA_SUFFIX): s for name, s in _reader(path).get_variable_to_shape_map().items()}
    steps = [match for match in map(_STEP.fullmatch, shapes) if match]
    entry = shapes.get("model/0/0/f1/l_1/W")
    if not steps or entry is None:
        raise ValueError(
            f"{path} is not a checkpoint of the official Glow: it has no variable model/0/0/f1/l_1/W. It begins with "
            f"{', '.join(sorted(shapes)[:3])}."
        )
    # The inputs are half of the channels of the squeezed image, and the border indicator.
    channels = 2 * (entry[2] - 1)
    if "model/0/0/invconv/W" in shapes:
        mixing = permutation
    else:
        mixing = "shuffle" if "model/0/0/shuffle/indices" in shapes else "reverse"
    label, classifier = shapes.get("model/prior/y_emb/W"), shapes.get("model/classifier/W")
    height, width = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    return presets.glow(
        (height, width, channels // 4),
        K=1 + max(int(match[2]) for match in steps),
        L=1 + max(int(match[1]) for match in steps),
        width=entry[3],
        coupling="affine" if shapes["model/0/0/f1/l_last/W"][3] == channels else "additive",
        permutation=mixing,
        n_bits=n_bits,
        learn_top="model/prior/p/W" in shapes,
        num_classes=label[0] if label else classifier[1] if classifier else 0,
        conditional=label is not None,
        classifier=classifier is not None,
    )


def flow_from_arrays(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Flow:
    """Returns a flow with the weights in `arrays`, keyed by official name, such as `model/0/1/f1/l_1/W`."""
    flow = Flow(config)
    values, missing, misshapen = _values(arrays, config)
    variables = flow.named_variables()
    if not (missing or misshapen) and variables.keys() != values.keys():
        raise ValueError(f"Only glow_tf.glow models can be imported; {config.name!r} has other layers.")
    for path, value in values.items():
        if value is not None and path in variables and tuple(variables[path].shape) != value.shape:
            misshapen.append(f"{path}: {value.shape} in the checkpoint, {tuple(variables[path].shape)} in the model")
    if missing or misshapen:
        lines = [f"missing: {name}" for name in missing] + [f"other shape: {line}" for line in misshapen]
        shown = "\n  ".join(lines[:20] + ([f"and {len(lines) - 20} more"] if len(lines) > 20 else []))
        raise ValueError(
            f"The checkpoint does not fit the configuration (K, L, width, permutation, coupling, learn_top, "
            f"num_classes, classifier):\n  {shown}"
        )
    for path, value in values.items():
        variables[path].assign(value)
    flow.initialized.assign(True)
    return flow


def _reader(path: str) -> Any:
    try:
        return tf.train.load_checkpoint(path)
    except Exception as error:
        raise ValueError(f"{path} is not a readable TensorFlow checkpoint: {error}") from error


class _LazyArrays(Mapping):
    """The tensors of a checkpoint by name, read on access."""

    def __init__(self, names: Mapping[str, str], reader: Any):
        self._names = names
        self._reader = reader

    def __getitem__(self, name):
        key = self._names[name]
        try:
            return self._reader.get_tensor(key)
        except Exception as error:
            raise ValueError(f"The checkpoint is damaged, {key} cannot be read: {error}") from error

    def __contains__(self, name):
        return name in self._names

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)


def _values(
    arrays: Mapping[str, np.ndarray], config: ModelConfig
) -> tuple[dict[str, np.ndarray | None], list[str], list[str]]:
    """Returns the value of each variable by path (None if incomplete), and the missing and misshapen variables."""
    missing: list[str] = []
    misshapen: list[str] = []
    values: dict[str, np.ndarray | None] = {}
    for path, variable in _official_variables(config).items():
        parts = [np.asarray(arrays[name]) for name in variable.names if name in arrays]
        missing += [name for name in variable.names if name not in arrays]
        if len({part.shape for part in parts}) > 1:
            values[path] = None
            misshapen.append(f"{path}: the steps' shapes differ: {sorted({part.shape for part in parts})}")
        elif len(parts) < len(variable.names):
            values[path] = None
        else:
            value = variable.convert(np.stack(parts) if variable.stacked else parts[0])
            values.update(parameters.flatten_nest({path: value}))
    return values, missing, misshapen


def _official_variables(config: ModelConfig) -> dict[str, OfficialVariable]:
    """Returns how the official code stores the variables of a flow, keyed by path."""
    found: dict[str, OfficialVariable] = {}
    layers = zip(config.layers, config.shapes()[:-1], config.levels, strict=True)
    for i, (layer, shape, level) in enumerate(layers):
        for path, variable in layer.official_variables(shape, level - 1).items():
            found[f"layers/{layer_name(i, layer)}/{path}"] = variable
    if config.classifier:
        found |= zero_layer_variables("classifier", "model/classifier")
    return found
