"""From a layer's description to its parameters and its bijector.

`initial_parameters` draws a layer's parameters as a nest of arrays, `bijector` builds the layer from the same nest of
tensors or variables, `initialized` returns the nest with every actnorm set from a batch, and that batch transformed.
All three are pure; `glow_tf.models.flow.Flow` owns the variables.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors, config, networks
from glow_tf.bijectors import actnorm, invertible_conv
from glow_tf.networks import parameters as network_parameters
from glow_tf.networks.convolution import border_response, convolve
from glow_tf.runtime import products

tfb = tfp.bijectors

Nest = dict[str, Any]

# Parameters that are chosen once and not trained, by the last part of their path.
FIXED = frozenset({"indices", "permutation", "sign"})


def layer_name(index: int, layer: config.Layer) -> str:
    """A layer's name by its place and kind, such as `01_steps`: part of its variables' paths, in checkpoints too."""
    return f"{index:02d}_{type(layer).__name__.lower()}"


def initial_parameters(layer: config.Layer, shape: tuple[int, ...], num_classes: int, rng: np.random.Generator) -> Nest:
    """The parameters of `layer` for events of `shape`, as float and int64 arrays; {} where it has none."""
    if isinstance(layer, config.Steps):
        return _initial_steps(layer, shape, rng)
    if isinstance(layer, config.Split) and layer.learned:
        half = shape[-1] // 2
        return {"kernel": np.zeros([3, 3, half + 1, 2 * half]), **_zeros(2 * half)}
    if isinstance(layer, config.TopPrior):
        outputs = 2 * shape[-1]
        parts: Nest = {}
        if layer.learned:
            # The official prior convolves a map of zeros: all it sees is the indicator of the border.
            parts["border"] = {"kernel": np.zeros([3, 3, 1, outputs]), **_zeros(outputs)}
        if layer.conditional:
            parts["label"] = {"kernel": np.zeros([num_classes, outputs]), **_zeros(outputs)}
        return parts
    if isinstance(layer, config.Scale):
        return {"log_scale": np.zeros(shape)}
    return {}


def bijector(
    layer: config.Layer,
    shape: tuple[int, ...],
    parameters: Nest,
    *,
    labels: tf.Tensor | None = None,
    gradient: str = "reversible",
    network_precision: str = "float32",
    inverse_weight: tf.Tensor | None = None,
) -> bijectors.Bijector:
    """The bijector of `layer`.

    Args:
      layer: its description.
      shape: the event shape it takes.
      parameters: a nest like that of `initial_parameters`.
      labels: [n] int32 for a conditional prior, else None.
      gradient: `reversible`, `stored` or `none`, see `bijectors.Stack`.
      network_precision: of the coupling networks, see `Flow.distribution`.
      inverse_weight: [K, C, C], the inverses of the 1x1 convolutions of steps, where they are known.
    """
    if isinstance(layer, config.Steps):
        tensors, constants = step_tensors(layer, parameters, inverse_weight)
        return bijectors.Stack(
            lambda t, c: step(layer, shape, t, c, network_precision=network_precision),
            tensors,
            constants,
            depth=layer.depth,
            gradient=gradient,
            event_ndims=len(shape),
        )
    if isinstance(layer, config.Squeeze):
        return bijectors.Squeeze()
    if isinstance(layer, config.Split):
        tensors = network_parameters.scaled(parameters) if layer.learned else None
        return bijectors.Split((lambda x: _zero_conv(tensors, x)) if layer.learned else None, event_ndims=len(shape))
    if isinstance(layer, config.TopPrior):
        mean, log_stddev = tf.split(_prior_parameters(layer, shape, parameters, labels), 2, axis=-1)
        return bijectors.DiagonalPrior(mean, log_stddev)
    if isinstance(layer, config.Scale):
        scale = tfb.Scale(log_scale=tf.convert_to_tensor(parameters["log_scale"]))
        return bijectors.Adapter(scale, event_ndims=len(shape))
    if isinstance(layer, config.Flatten):
        flatten = tfb.Reshape(event_shape_in=shape, event_shape_out=[math.prod(shape)])
        return bijectors.Adapter(flatten, event_ndims=len(shape), inverse_event_ndims=1)
    return bijectors.Logit(layer.alpha, event_ndims=len(shape))


def initialized(layer: config.Layer, shape: tuple[int, ...], parameters: Nest, x: tf.Tensor) -> tuple[Nest, tf.Tensor]:
    """Data-dependent initialisation (Kingma & Dhariwal 2018, section 3.1) of a layer.

    Args:
      layer: its description; not a conditional prior, which has nothing to initialise.
      shape: the event shape it takes.
      parameters: a nest like that of `initial_parameters`, of tensors or variables.
      x: [B, *shape], the batch.

    Returns:
      The parameters that it sets, a part of the nest: those of every actnorm such that its output on this batch has
      mean 0 and deviation 1, and every scale such that it has a second moment of 1; and what enters the next layer.
    """
    if isinstance(layer, config.Scale):
        # It has no bias, hence the second moment in place of the variance.
        log_scale = -0.5 * tf.math.log(tf.maximum(tf.reduce_mean(x**2, axis=0), actnorm.MIN_STDDEV**2))
        y, _ = bijector(layer, shape, {"log_scale": log_scale}).forward_and_log_det(x)
        return {"log_scale": log_scale}, y
    if not isinstance(layer, config.Steps):
        y, _ = bijector(layer, shape, parameters).forward_and_log_det(x)
        return {}, tf.split(y, 2, axis=-1)[0] if isinstance(layer, config.Split) else y

    # Compiled once for all steps, which differ in k alone.
    compiled = tf.function(lambda k, x: _initialized_step(layer, shape, k, parameters, x), autograph=False)
    initialized_step = compiled.get_concrete_function(tf.TensorSpec([], tf.int32), tf.TensorSpec(x.shape, x.dtype))
    steps = []
    for k in range(layer.depth):
        values, x = initialized_step(tf.constant(k), x)
        steps.append(values)
    return tf.nest.map_structure(lambda *slices: tf.stack(slices), *steps), x


def _zeros(channels: int) -> Nest:
    return {"bias": np.zeros([channels]), "logs": np.zeros([channels])}


def _zero_conv(tensors: Nest, x: tf.Tensor) -> tf.Tensor:
    return network_parameters.actnorm(tensors, convolve(x, tensors["kernel"]))


def _prior_parameters(layer, shape, parameters, labels) -> tf.Tensor:
    """Mean and log standard deviation of the top prior, [n, H, W, 2C]; n is the number of labels or 1."""
    height, width, channels = shape
    h = tf.zeros([1, height, width, 2 * channels], tf.nest.flatten(parameters)[0].dtype)
    if layer.learned:
        tensors = network_parameters.scaled(parameters["border"])
        h += network_parameters.actnorm(tensors, border_response(tensors["kernel"], height, width))
    if layer.conditional:
        tensors = network_parameters.scaled(parameters["label"])
        one_hot = tf.one_hot(labels, tensors["kernel"].shape[0], dtype=h.dtype)
        embedded = network_parameters.actnorm(tensors, products.matmul(one_hot, tensors["kernel"]))
        h += embedded[:, tf.newaxis, tf.newaxis, :]
    return h


def _initial_steps(layer: config.Steps, shape, rng) -> Nest:
    depth, channels = layer.depth, shape[-1]
    parts: Nest = {}
    if layer.actnorm:
        parts["actnorm"] = network_parameters.actnorm_parameters(depth, channels)
    if has_conv1x1(layer):
        weight = invertible_conv.random_rotations(rng, depth, channels)
        dense = layer.permutation == "conv1x1_dense"
        parts["conv1x1"] = {"weight": weight} if dense else invertible_conv.plu_parameters(weight)
    elif layer.permutation == "shuffle":
        orders = np.stack([rng.permutation(channels) for _ in range(depth)])
        parts["shuffle"] = {"indices": orders}
    inputs = channels if layer.mask == "checkerboard" else channels // 2
    outputs = inputs if layer.coupling == "additive" else 2 * inputs
    network = networks.get(layer.network)
    parts["network"] = network.initial_parameters(rng, depth, inputs, outputs, layer.width, layer.blocks)
    return parts


def has_conv1x1(layer: config.Layer) -> bool:
    """Whether `layer` has invertible 1x1 convolutions."""
    return isinstance(layer, config.Steps) and layer.permutation in ("conv1x1", "conv1x1_dense")


def conv1x1_matrices(
    layer: config.Steps, parameters: Nest, inverse: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The weights [K, C, C] of the 1x1 convolutions, their inverses, computed unless given, and log|det|: [K]."""
    matrices = invertible_conv.plu_matrices if layer.permutation == "conv1x1" else invertible_conv.dense_matrices
    return matrices(**parameters["conv1x1"], inverse=inverse)


def step_tensors(layer: config.Steps, parameters: Nest, inverse_weight: tf.Tensor | None = None) -> tuple[Nest, Nest]:
    """What the steps are built from, stacked: the differentiable tensors, and the constants."""
    tensors: Nest = {"network": networks.get(layer.network).tensors(parameters["network"])}
    constants: Nest = {}
    if layer.actnorm:
        tensors["actnorm"] = network_parameters.scaled(parameters["actnorm"])
    if has_conv1x1(layer):
        weight, inverse, log_det = conv1x1_matrices(layer, parameters, inverse_weight)
        tensors["conv1x1"] = {"weight": weight, "log_abs_det": log_det}
        constants["inverse_weight"] = inverse
    elif layer.permutation == "shuffle":
        constants["indices"] = parameters["shuffle"]["indices"]
    if layer.alternate:
        constants["swap"] = tf.range(layer.depth) % 2
    return tf.nest.map_structure(tf.convert_to_tensor, (tensors, constants))


def step(
    layer: config.Steps,
    shape: tuple[int, ...],
    tensors: Nest,
    constants: Nest,
    normalize: network_parameters.Normalize = network_parameters.actnorm,
    network_precision: str = "float32",
) -> bijectors.FlowStep:
    """One step, from its slices of what `step_tensors` returns."""
    event_ndims = len(shape)
    parts: list[bijectors.Bijector] = []
    if layer.actnorm:
        parts.append(bijectors.ActNorm(**tensors["actnorm"], event_ndims=event_ndims))
    if "conv1x1" in tensors:
        inverse = constants["inverse_weight"]
        conv = bijectors.InvertibleConv1x1(**tensors["conv1x1"], inverse_weight=inverse, event_ndims=event_ndims)
        parts.append(conv)
    elif layer.permutation == "shuffle":
        parts.append(bijectors.Permutation(constants["indices"], event_ndims=event_ndims))
    elif layer.permutation == "reverse":
        parts.append(bijectors.Permutation.reverse(shape[-1], event_ndims=event_ndims))
    network = networks.get(layer.network)

    def coupling_network(x):
        if network_precision != "bfloat16":
            return network.apply(tensors["network"], x, normalize, precision=network_precision)
        cast = tf.nest.map_structure(lambda t: tf.cast(t, tf.bfloat16), tensors["network"])
        h = network.apply(cast, tf.cast(x, tf.bfloat16), normalize, precision=network_precision)
        return tf.cast(h, x.dtype)

    parts.append(
        bijectors.Coupling(
            coupling_network,
            coupling=layer.coupling,
            mask=layer.mask,
            swap=constants.get("swap", 0),
            event_ndims=event_ndims,
        )
    )
    return bijectors.FlowStep(parts)


def _initialized_step(layer, shape, k: tf.Tensor, parameters: Nest, x: tf.Tensor) -> tuple[Nest, tf.Tensor]:
    """What the initialisation sets of step `k`, without the leading axis, and what enters the next step."""
    parameters = _map_arrays(lambda p: tf.gather(p, [k]), parameters)
    if layer.actnorm:
        bias, log_scale = actnorm.normalizer(x)
        logs = log_scale / network_parameters.LOG_SCALE_FACTOR
        parameters["actnorm"] = {"bias": bias[tf.newaxis], "logs": logs[tf.newaxis]}
    tensors, constants = step_tensors(layer, parameters)
    tensors, constants = (_map_arrays(lambda t: t[0], nest) for nest in (tensors, constants))
    if layer.alternate:
        constants["swap"] = k % 2

    def normalize(actnorm_tensors: dict[str, tf.Tensor], h: tf.Tensor) -> tf.Tensor:
        bias, log_scale = actnorm.normalizer(h)
        actnorm_tensors.update(bias=bias, log_scale=log_scale)
        return network_parameters.actnorm(actnorm_tensors, h)

    y, _ = step(layer, shape, tensors, constants, normalize).forward_and_log_det(x)
    values = {"network": _actnorms_of(tensors["network"])}
    if layer.actnorm:
        values["actnorm"] = {"bias": bias, "logs": logs}
    return values, y


def _actnorms_of(tensors: Nest) -> Nest:
    """The parameters of every actnorm in a network, and of no other layer, from the network's `tensors`."""
    if "log_scale" in tensors:
        return {"bias": tensors["bias"], "logs": tensors["log_scale"] / network_parameters.LOG_SCALE_FACTOR}
    parts = {name: _actnorms_of(part) for name, part in tensors.items() if isinstance(part, Mapping)}
    return {name: part for name, part in parts.items() if part}


def _map_arrays(function, nest: Nest) -> Nest:
    """Applies `function` to every leaf and makes plain dictionaries of whatever mappings hold them."""
    return {k: _map_arrays(function, v) if isinstance(v, Mapping) else function(v) for k, v in nest.items()}
