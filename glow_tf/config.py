"""The description of a flow: frozen dataclasses, validated on construction.

A `ModelConfig` is data: the image it models and the sequence of layers from the image to its latents. The presets in
`glow_tf.models.presets` write it; `glow_tf.Flow` builds it; `config.json` stores it. This module imports neither absl
nor TensorFlow.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

PERMUTATIONS = ("conv1x1", "conv1x1_dense", "shuffle", "reverse", "none")
COUPLINGS = ("additive", "affine", "affine_exp")
MASKS = ("channel", "checkerboard")
NETWORKS = ("cnn", "resnet", "mlp")
GRADIENTS = ("reversible", "stored")
BASES = ("normal", "logistic")
NETWORK_PRECISIONS = ("float32", "tf32", "bfloat16")
_NOT_THE_JSON = "This is not the JSON of a glow_tf model config"


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}.")


def at_least(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Logit:
    """logit(alpha + (1 - 2 alpha)(x + 1/2)): the unit interval to the real line (RealNVP, section 4.1)."""

    alpha: float = 0.05

    def __post_init__(self):
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha={self.alpha!r} must lie strictly between 0 and 0.5.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flatten:
    """[H, W, C] to [H * W * C]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Squeeze:
    """[H, W, C] to [H/2, W/2, 4C]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """`depth` flow steps of one structure: actnorm, then permutation, then coupling.

    Attributes:
      depth: K, the number of steps.
      actnorm: whether a step begins with an activation normalisation.
      permutation: how channels are mixed: `conv1x1` (PLU), `conv1x1_dense`, `shuffle`, `reverse` or `none`.
      coupling: `additive`, `affine` (Glow: a sigmoid scale) or `affine_exp` (RealNVP: the exponential of a tanh).
      mask: which half conditions: the first `channel`s, or the white squares of a `checkerboard`.
      alternate: whether every second step exchanges the two halves.
      network: the coupling network: `cnn` (Glow), `resnet` (RealNVP) or `mlp` (NICE).
      width: hidden channels of the network.
      blocks: residual blocks of a `resnet`, hidden layers of an `mlp`; a `cnn` always has two hidden layers.
    """

    depth: int
    width: int
    actnorm: bool = True
    permutation: str = "conv1x1"
    coupling: str = "affine"
    mask: str = "channel"
    alternate: bool = False
    network: str = "cnn"
    blocks: int = 2

    def __post_init__(self):
        at_least("depth", self.depth, 1)
        at_least("width", self.width, 1)
        at_least("blocks", self.blocks, 1)
        one_of("permutation", self.permutation, PERMUTATIONS)
        one_of("coupling", self.coupling, COUPLINGS)
        one_of("mask", self.mask, MASKS)
        one_of("network", self.network, NETWORKS)
        if self.network == "cnn" and self.blocks != 2:
            raise ValueError(f"blocks={self.blocks!r}: the 'cnn' network has two hidden layers; use 'resnet' or 'mlp'.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Factors out the second half of the channels; `learned` whitens it by a prior conditioned on the first half."""

    learned: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """One learned positive factor a dimension (NICE, section 3.3), data-dependently initialised."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopPrior:
    """Whitens what remains at the top by a diagonal Gaussian: learned, conditioned on the label, or both."""

    learned: bool = True
    conditional: bool = False

    def __post_init__(self):
        if not (self.learned or self.conditional):
            raise ValueError("A TopPrior is learned, conditional or both; leave it out for a standard normal prior.")


LAYERS = {cls.__name__: cls for cls in (Logit, Flatten, Squeeze, Steps, Split, Scale, TopPrior)}
Layer = Logit | Flatten | Squeeze | Steps | Split | Scale | TopPrior


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A flow, completely described.

    Attributes:
      name: the preset it came from: `glow`, `real_nvp`, `nice`, or a name of your own.
      image_shape: (H, W, C) of the images, or (D,) for flat vectors.
      layers: the layers in the order from image to latent.
      n_bits: bits of each colour channel that are modelled, 1 to 8.
      base: the distribution of the latents, `normal` or `logistic`.
      num_classes: number of labels, 0 for none.
      classifier: whether a linear classifier on the top latent is part of the model (the official code's second loss).
      gradient: how a stack of steps is differentiated: `reversible` keeps only its output and rebuilds the inputs of
        its steps, so that memory does not grow with K; `stored` keeps every activation.
    """

    name: str
    image_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    n_bits: int = 8
    base: str = "normal"
    num_classes: int = 0
    classifier: bool = False
    gradient: str = "reversible"

    def __post_init__(self):
        object.__setattr__(self, "image_shape", tuple(int(n) for n in self.image_shape))
        object.__setattr__(self, "layers", tuple(self.layers))
        if len(self.image_shape) not in (1, 3) or min(self.image_shape) < 1:
            raise ValueError(
                f"image_shape={self.image_shape!r} must be (height, width, channels), or (size,) for flat vectors."
            )
        at_least("n_bits", self.n_bits, 1)
        if self.n_bits > 8:
            raise ValueError(f"n_bits={self.n_bits!r} must be at most 8: images are uint8.")
        one_of("base", self.base, BASES)
        one_of("gradient", self.gradient, GRADIENTS)
        at_least("num_classes", self.num_classes, 0)
        if (self.conditional or self.classifier) and self.num_classes < 1:
            raise ValueError("A label-conditional prior or a classifier needs num_classes of at least 1.")
        for layer in self.layers:
            if type(layer).__name__ not in LAYERS:
                raise ValueError(f"{layer!r} is not a layer; the layers are {', '.join(LAYERS)}.")
        self.shapes()

    @property
    def conditional(self) -> bool:
        """Whether the likelihood depends on a label."""
        return any(isinstance(layer, TopPrior) and layer.conditional for layer in self.layers)

    @property
    def dimensions(self) -> int:
        """D, the number of dimensions of an image and of its latent."""
        size = 1
        for n in self.image_shape:
            size *= n
        return size

    def shapes(self) -> list[tuple[int, ...]]:
        """The event shape that enters each layer, and after them the one that leaves the last.

        Raises:
          ValueError: if the layers do not fit the image.
        """
        shapes = [self.image_shape]
        for i, layer in enumerate(self.layers):
            shapes.append(_output_shape(layer, shapes[-1], f"layers[{i}] ({type(layer).__name__})"))
        return shapes

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the parts of the latent in their order: factored out level by level, the top last."""
        shapes = self.shapes()
        parts = [after for layer, after in zip(self.layers, shapes[1:], strict=True) if isinstance(layer, Split)]
        return [*parts, shapes[-1]]

    def to_json(self) -> str:
        """The config as indented JSON, which `from_json` reads back to an equal one."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["layers"] = [{"layer": type(layer).__name__, **dataclasses.asdict(layer)} for layer in self.layers]
        return json.dumps(fields, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: if `text` is no JSON of a model config; the message names the field.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{_NOT_THE_JSON}: {error}.") from error
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Any) -> "ModelConfig":
        """The config of the object that `to_json` writes, as `json.loads` reads it.

        Raises:
          ValueError: if it is no model config; the message names the field.
        """
        for name in ("layers", "image_shape"):
            if not isinstance(fields, Mapping) or not isinstance(fields.get(name), list | tuple | str):
                raise ValueError(f"{_NOT_THE_JSON}: it has no list {name}.")
        for n in fields["image_shape"]:
            at_least("image_shape", n, 1)
        layers = tuple(_layer(f"layers[{i}]", layer) for i, layer in enumerate(fields["layers"]))
        return _made(cls, "", {**fields, "layers": layers, "image_shape": tuple(fields["image_shape"])})

    def differences(self, other: "ModelConfig") -> list[str]:
        """The fields in which `other` differs, one readable line each (`layers[1].width: 512 here, 64 there`)."""
        mine, theirs = (_flatten_fields(json.loads(config.to_json())) for config in (self, other))
        return [
            f"{key}: {mine.get(key, 'absent')} here, {theirs.get(key, 'absent')} there"
            for key in [*mine, *(key for key in theirs if key not in mine)]
            if mine.get(key) != theirs.get(key) or (key in mine) != (key in theirs)
        ]


def _layer(where: str, fields: Any) -> Layer:
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where} must be a dictionary, and not {fields!r}.")
    fields = dict(fields)
    kind = fields.pop("layer", None)
    if not isinstance(kind, str) or kind not in LAYERS:
        raise ValueError(f"{where}.layer={kind!r} is not one of {', '.join(LAYERS)}.")
    return _made(LAYERS[kind], f"{where}.", fields)


def _made(cls: type, where: str, fields: Mapping[str, Any]) -> Any:
    """An instance of a dataclass from what JSON held, where a number can stand for a word, and a word for a number."""
    known = {field.name: field for field in dataclasses.fields(cls)}
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"{where}{name} is no field of a {cls.__name__}; they are {', '.join(known)}.")
        kind = known[name].type
        # True is an int to Python.
        right = {float: (float, int), int: int, str: str, bool: bool}.get(kind, object)
        if not isinstance(value, right) or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{where}{name}={value!r} must be of type {kind.__name__}.")
    missing = [name for name, field in known.items() if name not in fields and field.default is dataclasses.MISSING]
    if missing:
        raise ValueError(f"{where}{missing[0]} is missing.")
    try:
        return cls(**fields)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def _flatten_fields(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = [(f"{prefix}.{key}" if prefix else key, item) for key, item in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [(f"{prefix}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {prefix: value}
    return {key: leaf for name, item in items for key, leaf in _flatten_fields(item, name).items()}


def _output_shape(layer: Layer, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    if isinstance(layer, Flatten):
        size = 1
        for n in shape:
            size *= n
        return (size,)
    if isinstance(layer, Squeeze):
        if len(shape) != 3 or shape[0] % 2 or shape[1] % 2:
            raise ValueError(f"{where} needs an image with even sides; it gets {shape}.")
        return shape[0] // 2, shape[1] // 2, 4 * shape[2]
    if isinstance(layer, Split):
        if shape[-1] % 2:
            raise ValueError(f"{where} needs an even number of channels; it gets {shape}.")
        return *shape[:-1], shape[-1] // 2
    if isinstance(layer, Steps):
        if layer.network != "mlp" and len(shape) != 3:
            raise ValueError(f"{where} has a convolutional network and needs (H, W, C); it gets {shape}.")
        if layer.mask == "channel" and shape[-1] % 2:
            raise ValueError(f"{where} halves the channels and needs an even number of them; it gets {shape}.")
        if layer.mask == "checkerboard" and max(shape[:2] if len(shape) == 3 else shape) < 2:
            raise ValueError(f"{where} has a checkerboard mask and needs more than one position; it gets {shape}.")
    if isinstance(layer, TopPrior) and len(shape) != 3:
        raise ValueError(f"{where} needs (H, W, C); it gets {shape}.")
    return shape


def check_divisible(image_shape: tuple[int, ...], levels: int) -> None:
    """Checks that an image can be squeezed `levels` times.

    Raises:
      ValueError: if a side is not a multiple of 2^levels; the message names the sizes that would do.
    """
    factor = 2**levels
    if len(image_shape) != 3:
        raise ValueError(f"image_shape={tuple(image_shape)!r} must be (height, width, channels).")
    height, width, channels = image_shape
    if channels not in (1, 3):
        raise ValueError(f"image_shape={tuple(image_shape)!r}: images have 1 or 3 channels, not {channels}.")
    if height < 1 or width < 1 or height % factor or width % factor:
        near = [tuple(max(factor, side // factor * factor + up) for side in (height, width)) for up in (0, factor)]
        options = " or ".join(dict.fromkeys(f"{h}x{w}" for h, w in near))
        raise ValueError(
            f"An image of {height}x{width} cannot be squeezed {levels} times: both sides must be multiples of "
            f"2^L = {factor}. {options} would do, or a smaller L."
        )
