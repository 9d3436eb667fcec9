"""The shapes of a flow's variables, from its config alone: nothing of their size is in memory."""

from glow_tf import config, networks
from glow_tf.models import layers
from glow_tf.networks.parameters import Shapes, actnorm_shapes


def variable_shapes(model: config.ModelConfig) -> Shapes:
    """The paths and shapes of `Flow(model).named_variables()`, one after the other, so that the first can be looked at.

    Of a config from a file nobody knows how many variables it describes, and how large ones.
    """
    for i, (layer, shape) in enumerate(zip(model.layers, model.shapes()[:-1], strict=True)):
        for path, size in _of_layer(layer, shape, model.num_classes):
            yield f"layers/{layers.layer_name(i, layer)}/{path}", size
    if model.classifier:
        yield "classifier/kernel", (model.shapes()[-1][-1], model.num_classes)
        yield from _zeros("classifier", model.num_classes)


def _of_layer(layer: config.Layer, shape: tuple[int, ...], num_classes: int) -> Shapes:
    """Those of `layers.initial_parameters`."""
    channels = shape[-1]
    if isinstance(layer, config.Steps):
        yield from _of_steps(layer, channels)
    if isinstance(layer, config.Split) and layer.learned:
        yield "kernel", (3, 3, channels // 2 + 1, 2 * (channels // 2))
        yield from _zeros("", 2 * (channels // 2))
    if isinstance(layer, config.TopPrior) and layer.learned:
        yield "border/kernel", (3, 3, 1, 2 * channels)
        yield from _zeros("border", 2 * channels)
    if isinstance(layer, config.TopPrior) and layer.conditional:
        yield "label/kernel", (num_classes, 2 * channels)
        yield from _zeros("label", 2 * channels)
    if isinstance(layer, config.Scale):
        yield "log_scale", shape


def _of_steps(layer: config.Steps, channels: int) -> Shapes:
    depth = layer.depth
    if layer.actnorm:
        yield from actnorm_shapes("actnorm", depth, channels)
    if layer.permutation == "conv1x1_dense":
        yield "conv1x1/weight", (depth, channels, channels)
    if layer.permutation == "conv1x1":
        for name in ("permutation", "sign", "log_diagonal"):
            yield f"conv1x1/{name}", (depth, channels)
        for name in ("lower", "upper"):
            yield f"conv1x1/{name}", (depth, channels, channels)
    if layer.permutation == "shuffle":
        yield "shuffle/indices", (depth, channels)
    inputs = channels if layer.mask == "checkerboard" else channels // 2
    outputs = inputs if layer.coupling == "additive" else 2 * inputs
    network = networks.get(layer.network)
    for path, size in network.parameter_shapes(depth, inputs, outputs, layer.width, layer.blocks):
        yield f"network/{path}", size


def _zeros(path: str, channels: int) -> Shapes:
    prefix = f"{path}/" if path else ""
    yield f"{prefix}bias", (channels,)
    yield f"{prefix}logs", (channels,)
