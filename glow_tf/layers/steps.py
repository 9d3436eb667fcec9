"""Flow steps."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from glow_tf import bijectors, flops, networks, official, partitions, transforms
from glow_tf import parameters as p
from glow_tf.arguments import at_least, one_of
from glow_tf.bijectors import invertible_conv
from glow_tf.description import check, construct
from glow_tf.layers.base import Layer, Part, Shape
from glow_tf.mode import Mode
from glow_tf.networks import actnorm
from glow_tf.parameters import Nest

PERMUTATIONS = ("conv1x1", "conv1x1_dense", "shuffle", "reverse", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps(Layer):
    """`depth` flow steps of the same structure: actnorm, permutation, coupling (Kingma & Dhariwal 2018, figure 2).

    Attributes:
      depth: K, the number of steps.
      network: the conditioner of the couplings: `networks.Cnn` (Glow), `networks.Resnet` (RealNVP), `networks.Mlp`
        (NICE), `networks.GatedAttention` (Flow++), `networks.Vit` (Jet), or one of your own.
      actnorm: whether each step begins with activation normalisation.
      permutation: how channels are mixed: `conv1x1` (PLU), `conv1x1_dense`, `shuffle`, `reverse` or `none`.
      coupling: the elementwise transform of the couplings, such as `transforms.Affine()`.
      partition: how couplings partition their input, such as `partitions.Channels()`.
      alternate: whether successive steps cycle through the partition's ways of dividing the input; most partitions have
        two, so that every second step exchanges the parts.
    """

    is_recomputed: ClassVar[bool] = True

    depth: int
    network: networks.Network
    actnorm: bool = True
    permutation: str = "conv1x1"
    coupling: transforms.Transform = transforms.Affine()
    partition: partitions.Partition = partitions.Channels()
    alternate: bool = False

    def __post_init__(self):
        at_least("depth", self.depth, 1)
        one_of("permutation", self.permutation, PERMUTATIONS)
        check("network", self.network, networks.Network)
        check("coupling", self.coupling, transforms.Transform)
        check("partition", self.partition, partitions.Partition)
        given, taken = self.network.parameters_per_dim, self.coupling.parameters_per_dim
        if given not in (None, taken):
            network, coupling = type(self.network).__name__, type(self.coupling).__name__
            raise ValueError(
                f"network={network} gives {given} parameters an element, and coupling={coupling} takes {taken}: choose "
                "another network, or a Resnet with bounded=False."
            )

    @classmethod
    def upgrade(cls, fields, model):
        network = fields.get("network")
        if isinstance(network, networks.Network) or not (isinstance(network, str) or "width" in fields):
            return fields
        # Version 0.1.0 stored names in place of objects, and the network's fields among those of the steps.
        rest = {name: value for name, value in fields.items() if name not in ("network", "width", "blocks", "mask")}
        return rest | _named_parts(fields)

    def output_shape(self, shape):
        self.partition.check(shape)
        self.network.check(self._network_shape(shape))
        return shape

    def parameters(self, shape, rng):
        depth, channels = self.depth, shape[-1]
        parts = {}
        if self.actnorm:
            parts["actnorm"] = p.actnorm(depth, channels)
        if self._has_conv1x1:
            parts["conv1x1"] = self._conv1x1_parameters(channels, rng)
        elif self.permutation == "shuffle":
            parts["shuffle"] = {"indices": p.Parameter((depth, channels), self._orders(channels, rng), trainable=False)}
        inputs, outputs = self._network_channels(shape)
        return {**parts, "network": self.network.parameters(rng, depth, inputs, outputs, self._network_shape(shape))}

    def bijector(self, shape, tensors, context=None):
        return self.bijector_in(Mode(), shape, tensors, context)

    def bijector_in(self, mode, shape, tensors, context=None):
        stacked, constants = self._stacked(tensors)
        if mode.seed is not None and self.network.is_random:
            constants["seed"] = tf.stack(tf.random.experimental.stateless_split(mode.seed, self.depth))
        return bijectors.Stack(
            lambda tensors, constants, context=None: self._step(mode, shape, tensors, constants, context),
            stacked,
            constants,
            context=context,
            depth=self.depth,
            gradient=mode.gradient,
            event_ndims=len(shape),
        )

    def initialize(self, shape, tensors, x, context=None):
        # Compiled once for all steps, which differ only in k.
        compiled = tf.function(lambda k, x: self._initialize_step(k, shape, tensors, x, context), autograph=False)
        initialize_step = compiled.get_concrete_function(tf.TensorSpec([], tf.int32), tf.TensorSpec(x.shape, x.dtype))
        steps = []
        for k in range(self.depth):
            values, x = initialize_step(tf.constant(k), x)
            steps.append(values)
        return tf.nest.map_structure(lambda *slices: tf.stack(slices), *steps), x

    @property
    def is_random(self):
        return self.network.is_random

    @property
    def is_initialized_from_data(self):
        return self.actnorm or self.network.is_initialized_from_data

    def decays(self, path, shape):
        part, _, network_path = path.partition("/")
        return part == "network" and self.network.decays(network_path, shape[1:])

    def num_classes_needed(self):
        return self.network.num_classes_needed()

    def hidden_channels(self):
        return self.network.hidden_channels()

    def derived(self, tensors):
        if not self._has_conv1x1:
            return {}, {}
        _, inverse, _ = self._conv1x1_matrices(tensors)
        return {"conv1x1": {"inverse": inverse}}, {"conv1x1": tensors["conv1x1"]}

    def matrices(self, tensors):
        if self.permutation == "conv1x1_dense":
            # Avoids the inverse, which a singular matrix does not have.
            return [tf.convert_to_tensor(tensors["conv1x1"]["weight"])]
        return [self._conv1x1_matrices(tensors)[0]] if self.permutation == "conv1x1" else []

    def parts(self, mode, shape, tensors, context=None):
        stacked, constants = self._stacked(tensors)
        for k in range(self.depth):
            slices, fixed = (tf.nest.map_structure(lambda t, k=k: t[k], nest) for nest in (stacked, constants))
            named = dict(p.flatten_nest(slices))
            for bijector in self._step(mode, shape, slices, fixed, context).layers:
                yield Part(f"step {k + 1} of {self.depth}, {bijector.name}", bijector, named)

    def products(self, shape, batch_size):
        channels = shape[-1]
        mixing = [flops.convolution(shape, batch_size, 1, channels, channels)] if self._has_conv1x1 else []
        step_products = [
            *mixing,
            *self.network.products(self._network_shape(shape), batch_size, *self._network_channels(shape)),
        ]
        return step_products * self.depth

    def official_variables(self, shape, level):
        steps = [f"model/{level}/{k}" for k in range(self.depth)]
        found = official.actnorm_variables("actnorm", [f"{step}/actnorm" for step in steps]) if self.actnorm else {}
        if self.permutation == "shuffle":
            names = [f"{step}/shuffle/indices" for step in steps]
            found |= official.step_variable("shuffle/indices", names, lambda indices: indices.astype(np.int64))
        weights = [f"{step}/invconv/W" for step in steps]
        if self.permutation == "conv1x1_dense":
            found |= official.step_variable("conv1x1/weight", weights)
        if self.permutation == "conv1x1":
            found |= official.step_variable("conv1x1", weights, invertible_conv.plu_parameters)
        return found | self.network.official_variables("network", steps)

    @property
    def _has_conv1x1(self) -> bool:
        return self.permutation in ("conv1x1", "conv1x1_dense")

    def _network_channels(self, shape: Shape) -> tuple[int, int]:
        inputs, transformed = self.partition.channels(shape)
        return inputs, transformed * self.coupling.parameters_per_dim

    def _network_shape(self, shape: Shape) -> Shape:
        return *self.partition.positions(shape), shape[-1]

    def _orders(self, channels: int, rng: np.random.Generator) -> Callable[[], np.ndarray]:
        return lambda: np.stack([rng.permutation(channels) for _ in range(self.depth)])

    def _conv1x1_parameters(self, channels: int, rng: np.random.Generator) -> Nest:
        matrices = self.depth, channels, channels
        if self.permutation == "conv1x1_dense":
            return {"weight": p.Parameter(matrices, lambda: invertible_conv.random_rotations(rng, *matrices[:2]))}

        def factors() -> dict[str, np.ndarray]:
            return invertible_conv.plu_parameters(invertible_conv.random_rotations(rng, self.depth, channels))

        vectors = dict.fromkeys(("permutation", "sign", "log_diagonal"), matrices[:2])
        shapes = {**vectors, "lower": matrices, "upper": matrices}
        ordered = {name: shapes[name] for name in invertible_conv.PLU_PARAMETERS}
        return p.jointly(factors, ordered, fixed=("permutation", "sign"))

    def _conv1x1_matrices(self, tensors: Nest) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the weights [K, C, C] of the 1x1 convolutions, their inverses, and log|det|: [K]."""
        matrices = invertible_conv.plu_matrices if self.permutation == "conv1x1" else invertible_conv.dense_matrices
        return matrices(**tensors["conv1x1"])

    def _stacked(self, tensors: Nest) -> tuple[Nest, Nest]:
        """Returns the stacked tensors of the steps, and their stacked constants, which are not differentiated."""
        stacked: dict[str, Any] = {"network": self.network.prepare(tensors["network"])}
        constants: dict[str, Any] = {}
        if self.actnorm:
            stacked["actnorm"] = actnorm.scaled(tensors["actnorm"])
        if self._has_conv1x1:
            weight, inverse, log_det = self._conv1x1_matrices(tensors)
            stacked["conv1x1"] = {"weight": weight, "log_abs_det": log_det}
            constants["inverse_weight"] = inverse
        elif self.permutation == "shuffle":
            constants["indices"] = tensors["shuffle"]["indices"]
        if self.alternate:
            constants["swap"] = tf.range(self.depth) % self.partition.ways
        return tf.nest.map_structure(tf.convert_to_tensor, (stacked, constants))

    def _step(
        self,
        mode: Mode,
        shape: Shape,
        tensors: Nest,
        constants: Nest,
        context: Any = None,
        conditioner: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> bijectors.FlowStep:
        """Builds one step from its slices of what `_stacked` returns; by default, the network is its conditioner."""
        event_ndims = len(shape)
        parts: list[bijectors.Bijector] = []
        if self.actnorm:
            parts.append(bijectors.ActNorm(**tensors["actnorm"], event_ndims=event_ndims))
        if "conv1x1" in tensors:
            inverse = constants["inverse_weight"]
            parts.append(
                bijectors.InvertibleConv1x1(**tensors["conv1x1"], inverse_weight=inverse, event_ndims=event_ndims)
            )
        elif self.permutation == "shuffle":
            parts.append(bijectors.Permutation(constants["indices"], event_ndims=event_ndims))
        elif self.permutation == "reverse":
            parts.append(bijectors.Permutation.reverse(shape[-1], event_ndims=event_ndims))

        mode = dataclasses.replace(mode, seed=constants.get("seed"))

        def network(x):
            return self.network.apply_in(mode, tensors["network"], x, context)

        coupling = bijectors.Coupling(
            conditioner or network,
            transform=self.coupling,
            partition=self.partition,
            swap=constants.get("swap", 0),
            event_ndims=event_ndims,
        )
        return bijectors.FlowStep([*parts, coupling])

    def _initialize_step(
        self, k: tf.Tensor, shape: Shape, tensors: Nest, x: tf.Tensor, context: Any
    ) -> tuple[Nest, tf.Tensor]:
        """Returns the initialised values of step `k`, without the leading axis, and the input of the next step."""
        tensors = _map_leaves(lambda t: tf.gather(t, [k]), tensors)
        values: dict[str, Any] = {}
        if self.actnorm:
            bias, log_scale = actnorm.normalizer(x)
            values["actnorm"] = {"bias": bias, "logs": log_scale / actnorm.LOG_SCALE_FACTOR}
            tensors["actnorm"] = {name: value[tf.newaxis] for name, value in values["actnorm"].items()}
        stacked, constants = (_map_leaves(lambda t: t[0], nest) for nest in self._stacked(tensors))
        if self.alternate:
            constants["swap"] = k % self.partition.ways

        def conditioner(x):
            values["network"], h = self.network.initialize(stacked["network"], x, context)
            return h

        y, _ = self._step(Mode(), shape, stacked, constants, conditioner=conditioner).forward_and_log_det(x)
        return values, y


def _named_parts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parts of steps that version 0.1.0 stored as names."""
    classes = {"cnn": networks.Cnn, "resnet": networks.Resnet, "mlp": networks.Mlp}
    network = fields.get("network", "cnn")
    one_of("network", network, tuple(classes))
    if "width" not in fields:
        raise ValueError("width is missing.")
    blocks = {} if network == "cnn" else {"blocks": fields.get("blocks", 2)}
    found = {"network": construct(classes[network], "", {"width": fields["width"], **blocks})}
    for new, old, named in (("coupling", "coupling", transforms.NAMED), ("partition", "mask", partitions.NAMED)):
        if old in fields:
            one_of(old, fields[old], tuple(named))
            found[new] = named[fields[old]]
    return found


def _map_leaves(function: Callable, nest: Nest) -> dict[str, Any]:
    """Applies a function to every leaf of a nest, and converts its mappings to plain dictionaries."""
    return {k: _map_leaves(function, v) if isinstance(v, Mapping) else function(v) for k, v in nest.items()}
