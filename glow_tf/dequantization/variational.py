"""Variational dequantization."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from glow_tf import parameters
from glow_tf.arguments import at_least
from glow_tf.dequantization import random
from glow_tf.dequantization.base import Dequantizer, Nest
from glow_tf.description import check
from glow_tf.layers import Squeeze, Steps
from glow_tf.mode import Mode
from glow_tf.networks import ContextChannels, Network, Resnet
from glow_tf.partitions import Channels, Checkerboard, Partition
from glow_tf.transforms import AffineExp, Transform

# The range of the noise, which ends where `Dequantizer.within_bins` would move it.
_RANGE = 1 - 2.0**-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variational(Dequantizer):
    """Noise of a flow that sees the image, learned with the model (Ho et al. 2019, "Flow++", section 3.1).

      eps      logistic noise, of density sigmoid'(eps)
      t        = `depth` couplings of eps, whose networks see the image
      u        = c sigmoid(t), with c = 1 - 2^-10, so that x stays in its bin in floating point

      log q(u | image)  =  log sigmoid'(eps) - log|det dt/deps| - log sigmoid'(t) - D log c

    The paper's eps is normal. With logistic noise a flow that is the identity, as at first, gives uniform noise, and
    the density need not vanish at the edges of a bin.

    Without a `partition`, 2x2 pixels are squeezed into channels where sides are even; couplings halve the channels or,
    where their number is odd, have a checkerboard mask. Flat vectors are taken for sequences; a single number has
    uniform noise. From noise to t is the forward direction of the steps, so that with the gradient `reversible` memory
    does not grow with `depth`.

    Networks see the image, at the positions of their input, as further channels of that, or as {"image": ...} in their
    context if they have `image_channels`.

    Attributes:
      network: conditioner of the couplings.
      depth: number of couplings.
      coupling: what couplings do with the part they transform.
      partition: how couplings divide the noise, without a squeeze, as `Positions()` in Flow++; None for the above.
      features: network of which all couplings see the output, in place of the image; None for the image itself.
      feature_channels: channels of that output.
    """

    is_recomputed: ClassVar[bool] = True

    network: Network = Resnet(width=32, blocks=1)
    depth: int = 4
    coupling: Transform = AffineExp()
    partition: Partition | None = None
    features: Network | None = None
    feature_channels: int = 32

    def __post_init__(self):
        super().__post_init__()
        check("network", self.network, Network)
        at_least("depth", self.depth, 1)
        check("coupling", self.coupling, Transform)
        if self.partition is not None:
            check("partition", self.partition, Partition)
        if self.features is not None:
            check("features", self.features, Network)
        at_least("feature_channels", self.feature_channels, 1)

    def check(self, shape):
        squeezed = self._squeezed(shape)
        if self.partition is not None:
            self.partition.check(squeezed)
        seen = self._seen_shape(squeezed)
        self.network.check((*seen[:-1], squeezed[-1]))
        if self.features is not None:
            self.features.check(seen)
        given, taken = self._condition_channels(squeezed), self.network.image_channels
        if taken not in (0, given):
            raise ValueError(f"has a network with image_channels={taken}, and gives it {given}; it gets {shape}.")

    def parameters(self, shape, rng):
        squeezed = self._squeezed(shape)
        steps = self._steps(squeezed)
        if steps is None:
            return {}
        of_steps = steps.parameters(squeezed, rng)
        if self.features is None:
            return of_steps
        seen = self._seen_shape(squeezed)
        return {**of_steps, "features": self.features.parameters(rng, 1, seen[-1], self.feature_channels, seen)}

    def noise(self, images, tensors, seed, context=None):
        return self.noise_in(Mode(), images, tensors, seed, context)

    def noise_in(self, mode, images, tensors, seed, context=None):
        mode = _with_seed(mode, seed)
        eps, context = random.logistic_like(images, seed), self._with_image(mode, images, tensors, context)
        t, log_det = self._transformed(mode, self._squeeze(eps), tensors, context)
        t = self._unsqueeze(t, images)
        log_density = _log_slope(eps) - _log_slope(t) - math.log(_RANGE)
        x, log_q = self.within_bins(images, _RANGE * tf.sigmoid(t), log_density)
        return x, log_q - log_det

    def initialize(self, images, tensors, seed, context=None):
        eps = self._squeeze(random.logistic_like(images, seed))
        shape = tuple(eps.shape[1:])
        steps = self._steps(shape)
        if steps is None:
            return super().initialize(images, tensors, seed, context)
        context_of_steps = self._with_image(Mode(), images, tensors, context)
        values, _ = steps.initialize(shape, _of_steps(tensors), eps, context_of_steps)
        changed = parameters.nested({**dict(parameters.by_path(tensors)), **dict(parameters.by_path(values))})
        return values, self.noise(images, changed, seed, context)

    def decays(self, path, shape):
        part, _, of_network = path.partition("/")
        network = {"network": self.network, "features": self.features}.get(part)
        return network is not None and network.decays(of_network, shape[1:])

    def num_classes_needed(self):
        networks = [self.network, *([] if self.features is None else [self.features])]
        return max(network.num_classes_needed() for network in networks)

    def network_width(self):
        return self.network.hidden_channels()

    def products(self, shape, batch_size):
        squeezed = self._squeezed(shape)
        steps = self._steps(squeezed)
        if steps is None:
            return []
        seen = self._seen_shape(squeezed)
        of_steps = steps.products(squeezed, batch_size)
        if self.features is None:
            return of_steps
        return [*self.features.products(seen, batch_size, seen[-1], self.feature_channels), *of_steps]

    def _steps(self, shape: tuple[int, ...]) -> Steps | None:
        """Returns the couplings of squeezed noise; None where there is nothing to divide, as of a single number."""
        if self.partition is None and shape[-1] % 2 and max(shape[:-1]) == 1:
            return None
        seen_by_itself = self.network.image_channels > 0
        channels = self._condition_channels(shape)
        return Steps(
            depth=self.depth,
            network=self.network if seen_by_itself else ContextChannels(inner=self.network, channels=channels),
            actnorm=False,
            permutation="none",
            coupling=self.coupling,
            partition=self.partition or (Checkerboard() if shape[-1] % 2 else Channels()),
            alternate=True,
        )

    def _transformed(self, mode: Mode, eps: tf.Tensor, tensors: Nest, context: Nest) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns what the couplings make of squeezed noise, and their log-det, [B]."""
        shape = tuple(eps.shape[1:])
        steps = self._steps(shape)
        if steps is None:
            return eps, tf.zeros(tf.shape(eps)[:1], eps.dtype)
        return steps.bijector_in(mode, shape, _of_steps(tensors), context).forward_and_log_det(eps)

    def _with_image(self, mode: Mode, images: tf.Tensor, tensors: Nest, context: Any) -> dict[str, Any]:
        """Returns the context, which the image joins as the couplings see it: squeezed or divided, or its features."""
        if not isinstance(context, Mapping | None):
            raise ValueError(
                "The context of a model with variational dequantization must be a dictionary, which the image joins."
            )
        context, seen = context or {}, self._squeeze(self.center(images))
        if self._divides_positions(tuple(seen.shape[1:])):
            seen = tf.concat(self.partition.divide(seen), axis=-1)
        if self.features is not None and "features" in tensors:
            prepared = self.features.prepare(tensors["features"])
            of_one = tf.nest.map_structure(lambda t: tf.convert_to_tensor(t)[0], prepared)
            seen = self.features.apply_in(mode, of_one, seen, context or None)
        return {**context, "image": seen}

    def _divides_positions(self, squeezed: tuple[int, ...]) -> bool:
        """Returns whether the parts that couplings divide squeezed noise into have positions of their own."""
        return self.partition is not None and tuple(self.partition.positions(squeezed)) != squeezed[:-1]

    def _seen_shape(self, squeezed: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of the image as the couplings, or the network of its features, see it."""
        if not self._divides_positions(squeezed):
            return squeezed
        return *self.partition.positions(squeezed), sum(self.partition.channels(squeezed))

    def _condition_channels(self, squeezed: tuple[int, ...]) -> int:
        """Returns the channels of what the couplings see beside the noise."""
        return self._seen_shape(squeezed)[-1] if self.features is None else self.feature_channels

    def _layout(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Squeeze]:
        """Returns a shape with positions, which flat vectors do not have, and the layer that squeezes it."""
        with_positions = (*shape, 1) if len(shape) == 1 else tuple(shape)
        odd = any(side % 2 for side in with_positions[:-1])
        return with_positions, Squeeze(factor=1 if odd or self.partition is not None else 2)

    def _squeezed(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        with_positions, layer = self._layout(shape)
        return layer.output_shape(with_positions)

    def _squeeze(self, x: tf.Tensor) -> tf.Tensor:
        shape, layer = self._layout(tuple(x.shape[1:]))
        return layer.bijector(shape, {}).forward_and_log_det(tf.reshape(x, [-1, *shape]))[0]

    def _unsqueeze(self, y: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        shape, layer = self._layout(tuple(like.shape[1:]))
        x, _ = layer.bijector(shape, {}).inverse_and_log_det(y)
        return tf.reshape(x, tf.shape(like))


def _of_steps(tensors: Nest) -> Nest:
    return {name: nest for name, nest in tensors.items() if name != "features"}


def _with_seed(mode: Mode, seed: tf.Tensor) -> Mode:
    """Returns the mode with a seed for networks that draw in training: one for the batch, as in the flow's layers."""
    if not mode.training:
        return mode
    return dataclasses.replace(mode, seed=tf.reduce_sum(tf.reshape(seed, [-1, 2]), axis=0))


def _log_slope(t: tf.Tensor) -> tf.Tensor:
    """Returns log sigmoid'(t), which is the log-density of the logistic distribution."""
    return tf.math.log_sigmoid(t) + tf.math.log_sigmoid(-t)
