"""The description of a flow.

A `ModelConfig` is plain data: the shape of the images and the sequence of layers from images to latents. The presets in
`glow_tf.models.presets` create it, `glow_tf.Flow` builds the model from it, and `config.json` stores it. This module
imports neither absl nor TensorFlow; the layers import TensorFlow.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from glow_tf import description
from glow_tf.arguments import at_least, one_of
from glow_tf.mode import GRADIENTS
from glow_tf.shapes import leaving_shape

if TYPE_CHECKING:
    from glow_tf.dequantization import Dequantizer
    from glow_tf.layers import Layer

BASES = ("normal", "logistic")
_NOT_THE_JSON = "This is not the JSON of a glow_tf model config"


def _default_dequantizer() -> "Dequantizer":
    from glow_tf import dequantization

    return dequantization.Uniform()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The complete description of a flow.

    Attributes:
      name: the name of the preset, such as `glow`, `real_nvp` or `nice`, or one of your own.
      image_shape: (H, W, C) for images, (T, C) for sequences, or (D,) for flat vectors.
      layers: the layers in order from image to latent: instances of classes in `glow_tf.layers`, or of your own.
      dequantizer: maps uint8 images to real numbers: an instance of a class in `glow_tf.dequantization`, or of your
        own; by default uniform noise within 8-bit bins.
      base: the distribution of the latents, `normal` or `logistic`.
      num_classes: number of labels, 0 for none.
      classifier: whether a linear classifier on the top latent is part of the model (the official code's second loss).
      gradient: how a stack of steps is differentiated: `reversible` keeps only its output and reconstructs the inputs
        of the steps, so that memory does not grow with K; `stored` keeps all activations.
    """

    name: str
    image_shape: tuple[int, ...]
    layers: tuple["Layer", ...]
    dequantizer: "Dequantizer" = dataclasses.field(default_factory=_default_dequantizer)
    base: str = "normal"
    num_classes: int = 0
    classifier: bool = False
    gradient: str = "reversible"

    def __post_init__(self):
        object.__setattr__(self, "image_shape", tuple(int(n) for n in self.image_shape))
        object.__setattr__(self, "layers", tuple(self.layers))
        if len(self.image_shape) not in (1, 2, 3) or min(self.image_shape) < 1:
            raise ValueError(
                f"image_shape={self.image_shape!r} must be (height, width, channels), (length, channels) for "
                "sequences, or (size,) for flat vectors."
            )
        description.check("dequantizer", self.dequantizer, _dequantizer_class())
        one_of("base", self.base, BASES)
        one_of("gradient", self.gradient, GRADIENTS)
        at_least("num_classes", self.num_classes, 0)
        for i, layer in enumerate(self.layers):
            description.check(f"layers[{i}]", layer, _layer_class())
        named = {f"layers[{i}]": layer for i, layer in enumerate(self.layers)} | {"dequantizer": self.dequantizer}
        for name, part in named.items():
            needed = part.num_classes_needed()
            if needed not in (0, self.num_classes):
                raise ValueError(
                    f"{name} ({type(part).__name__}) is conditioned on {needed} labels, and the model has "
                    f"num_classes={self.num_classes}."
                )
        if self.classifier and self.num_classes < 1:
            raise ValueError("A classifier needs num_classes of at least 1.")
        self.shapes()
        try:
            self.dequantizer.check(self.image_shape)
        except ValueError as error:
            raise ValueError(f"dequantizer ({type(self.dequantizer).__name__}) {error}") from error

    @property
    def n_bits(self) -> int | None:
        """Number of bits modelled per channel; None for real-valued data."""
        return self.dequantizer.n_bits

    @property
    def conditional(self) -> bool:
        """True if the likelihood depends on a label."""
        return any(part.num_classes_needed() for part in (*self.layers, self.dequantizer))

    @property
    def classifier_is_given_labels(self) -> bool:
        """True if there is a classifier and a part other than a prior is conditioned on labels.

        It would only learn to find the label that was given, and not that of a new image.
        """
        parts = (*(layer for layer in self.layers if not layer.is_prior), self.dequantizer)
        return self.classifier and any(part.num_classes_needed() for part in parts)

    @property
    def is_initialized_from_data(self) -> bool:
        """True if the initialisation from data sets parameters, such as those of actnorms."""
        return any(part.is_initialized_from_data for part in (*self.layers, self.dequantizer))

    @property
    def events(self) -> str:
        """The kind of data: `flat vectors`, `sequences` or `images`."""
        return ("flat vectors", "sequences", "images")[len(self.image_shape) - 1]

    @property
    def dimensions(self) -> int:
        """D, the number of dimensions of an image and of its latent."""
        return math.prod(self.image_shape)

    @property
    def hidden_channels(self) -> int:
        """The largest number of hidden channels in any coupling network."""
        return max(part.hidden_channels() for part in (*self.layers, self.dequantizer))

    def shapes(self) -> list[tuple[int, ...]]:
        """Returns the event shape at the input of each layer, followed by the one at the output of the last.

        Raises:
          ValueError: if the layers do not fit the image.
        """
        shapes = [self.image_shape]
        for i, layer in enumerate(self.layers):
            try:
                shapes.append(tuple(layer.output_shape(shapes[-1])))
            except ValueError as error:
                raise ValueError(f"layers[{i}] ({type(layer).__name__}) {error}") from error
        return shapes

    @property
    def levels(self) -> list[int]:
        """The level of each layer: 1 for the finest, plus one after each layer that factors out channels."""
        left = (leaving_shape(*shapes) is not None for shapes in itertools.pairwise(self.shapes()))
        return list(itertools.accumulate(left, initial=1))[:-1]

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the parts of the latent, in the order in which they are factored out, the top one last."""
        shapes = self.shapes()
        left = itertools.starmap(leaving_shape, itertools.pairwise(shapes))
        return [*(shape for shape in left if shape), shapes[-1]]

    def describe(self) -> str:
        """Returns a one-line description: the model's name, data and levels, and the number of steps, if it has any."""
        shape = "x".join(map(str, self.image_shape))
        values = "real numbers" if self.n_bits is None else f"{self.n_bits} bits"
        depths = list(dict.fromkeys(layer.depth for layer in self.layers if hasattr(layer, "depth")))
        steps = f", K={'/'.join(map(str, depths))}" if depths else ""
        count = len(self.latent_shapes)
        levels = f"{count} level{'' if count == 1 else 's'}"
        return f"{self.name} of {self.events} {shape}, {values}, {levels}{steps}"

    def to_json(self) -> str:
        """Returns the config as indented JSON, from which `from_json` restores an equal one."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["layers"] = [description.to_fields(layer) for layer in self.layers]
        fields["dequantizer"] = description.to_fields(self.dequantizer)
        return description.to_json(fields, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """Returns the config stored in JSON by `to_json`.

        Raises:
          ValueError: if `text` is not the JSON of a model config; the message names the field.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{_NOT_THE_JSON}: {error}.") from error
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Any) -> "ModelConfig":
        """Returns the config in the output of `to_json`, as parsed by `json.loads`.

        Raises:
          ValueError: if it is not a model config; the message names the field.
        """
        for name in ("layers", "image_shape"):
            if not isinstance(fields, Mapping) or not isinstance(fields.get(name), list | tuple | str):
                raise ValueError(f"{_NOT_THE_JSON}: it has no list {name}.")
        for n in fields["image_shape"]:
            at_least("image_shape", n, 1)
        layers = tuple(
            description.from_fields(f"layers[{i}]", layer, _layer_class(), fields)
            for i, layer in enumerate(fields["layers"])
        )
        fields = dict(fields)
        if "dequantizer" not in fields:
            # Version 0.1.0 only had uniform noise.
            bits = {"n_bits": fields.pop("n_bits")} if "n_bits" in fields else {}
            fields["dequantizer"] = {"dequantizer": "Uniform", **bits}
        dequantizer = description.from_fields("dequantizer", fields["dequantizer"], _dequantizer_class(), fields)
        return description.construct(cls, "", {**fields, "layers": layers, "dequantizer": dequantizer})

    def flattened(self) -> dict[str, Any]:
        """Returns the fields of `to_json` without nesting, keyed by path, such as `layers[1].depth`."""
        return _flatten_fields(json.loads(self.to_json()))

    def differences(self, other: "ModelConfig", ignored: Callable[[str], bool] = lambda path: False) -> list[str]:
        """Returns the fields in which `other` differs, one readable line each (`layers[1].depth: 8 vs. 16`)."""
        mine, theirs = self.flattened(), other.flattened()
        return [
            f"{key}: {mine.get(key, 'absent')} vs. {theirs.get(key, 'absent')}"
            for key in [*mine, *(key for key in theirs if key not in mine)]
            if not ignored(key)
            if mine.get(key) != theirs.get(key) or (key in mine) != (key in theirs)
        ]


def _layer_class() -> type["Layer"]:
    # The layers import TensorFlow.
    from glow_tf import layers

    return layers.Layer


def _dequantizer_class() -> type["Dequantizer"]:
    from glow_tf import dequantization

    return dequantization.Dequantizer


def _flatten_fields(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = [(f"{prefix}.{key}" if prefix else key, item) for key, item in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [(f"{prefix}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {prefix: value}
    return {key: leaf for name, item in items for key, leaf in _flatten_fields(item, name).items()}
