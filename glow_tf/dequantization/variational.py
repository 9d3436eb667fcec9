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
from glow_tf.partitions import Channels, Checkerboard
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

    Where sides are even, 2x2 pixels are squeezed into channels. Couplings halve the channels or, where their number is
    odd, have a checkerboard mask. Flat vectors are taken for sequences; a single number has uniform noise. From noise
    to t is the forward direction of the steps, so that with the gradient `reversible` memory does not grow with
    `depth`.

    Attributes:
      network: conditioner of the couplings.
      depth: number of couplings.
      coupling: what couplings do with the part they transform.
    """

    is_recomputed: ClassVar[bool] = True

    network: Network = Resnet(width=32, blocks=1)
    depth: int = 4
    coupling: Transform = AffineExp()

    def __post_init__(self):
        super().__post_init__()
        check("network", self.network, Network)
        at_least("depth", self.depth, 1)
        check("coupling", self.coupling, Transform)

    def check(self, shape):
        self.network.check(_squeezed(shape))

    def parameters(self, shape, rng):
        squeezed = _squeezed(shape)
        steps = self._steps(squeezed)
        return {} if steps is None else steps.parameters(squeezed, rng)

    def noise(self, images, tensors, seed, context=None):
        return self.noise_in(Mode(), images, tensors, seed, context)

    def noise_in(self, mode, images, tensors, seed, context=None):
        eps, context = random.logistic_like(images, seed), self._with_image(images, context)
        t, log_det = self._transformed(_with_seed(mode, seed), _squeeze(eps), tensors, context)
        t = _unsqueeze(t, images)
        log_density = _log_slope(eps) - _log_slope(t) - math.log(_RANGE)
        x, log_q = self.within_bins(images, _RANGE * tf.sigmoid(t), log_density)
        return x, log_q - log_det

    def initialize(self, images, tensors, seed, context=None):
        eps = _squeeze(random.logistic_like(images, seed))
        shape = tuple(eps.shape[1:])
        steps = self._steps(shape)
        if steps is None:
            return super().initialize(images, tensors, seed, context)
        values, _ = steps.initialize(shape, tensors, eps, self._with_image(images, context))
        changed = parameters.nested({**dict(parameters.by_path(tensors)), **dict(parameters.by_path(values))})
        return values, self.noise(images, changed, seed, context)

    def decays(self, path, shape):
        part, _, of_network = path.partition("/")
        return part == "network" and self.network.decays(of_network, shape[1:])

    def num_classes_needed(self):
        return self.network.num_classes_needed()

    def network_width(self):
        return self.network.hidden_channels()

    def products(self, shape, batch_size):
        squeezed = _squeezed(shape)
        steps = self._steps(squeezed)
        return [] if steps is None else steps.products(squeezed, batch_size)

    def _steps(self, shape: tuple[int, ...]) -> Steps | None:
        """Returns the couplings of squeezed noise; None where there is nothing to divide, as of a single number."""
        if shape[-1] % 2 and max(shape[:-1]) == 1:
            return None
        return Steps(
            depth=self.depth,
            network=ContextChannels(inner=self.network, channels=shape[-1]),
            actnorm=False,
            permutation="none",
            coupling=self.coupling,
            partition=Checkerboard() if shape[-1] % 2 else Channels(),
            alternate=True,
        )

    def _transformed(self, mode: Mode, eps: tf.Tensor, tensors: Nest, context: Nest) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns what the couplings make of squeezed noise, and their log-det, [B]."""
        shape = tuple(eps.shape[1:])
        steps = self._steps(shape)
        if steps is None:
            return eps, tf.zeros(tf.shape(eps)[:1], eps.dtype)
        return steps.bijector_in(mode, shape, tensors, context).forward_and_log_det(eps)

    def _with_image(self, images: tf.Tensor, context: Any) -> dict[str, Any]:
        """Returns the context, which the squeezed image joins."""
        if not isinstance(context, Mapping | None):
            raise ValueError(
                "The context of a model with variational dequantization must be a dictionary, which the image joins."
            )
        return {**(context or {}), "image": _squeeze(self.center(images))}


def _with_seed(mode: Mode, seed: tf.Tensor) -> Mode:
    """Returns the mode with a seed for networks that draw in training: one for the batch, as in the flow's layers."""
    if not mode.training:
        return mode
    return dataclasses.replace(mode, seed=tf.reduce_sum(tf.reshape(seed, [-1, 2]), axis=0))


def _log_slope(t: tf.Tensor) -> tf.Tensor:
    """Returns log sigmoid'(t), which is the log-density of the logistic distribution."""
    return tf.math.log_sigmoid(t) + tf.math.log_sigmoid(-t)


def _layout(shape: tuple[int, ...]) -> tuple[tuple[int, ...], Squeeze]:
    """Returns a shape with positions, which flat vectors do not have, and the layer that squeezes it."""
    with_positions = (*shape, 1) if len(shape) == 1 else tuple(shape)
    return with_positions, Squeeze(factor=1 if any(side % 2 for side in with_positions[:-1]) else 2)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    with_positions, layer = _layout(shape)
    return layer.output_shape(with_positions)


def _squeeze(x: tf.Tensor) -> tf.Tensor:
    shape, layer = _layout(tuple(x.shape[1:]))
    return layer.bijector(shape, {}).forward_and_log_det(tf.reshape(x, [-1, *shape]))[0]


def _unsqueeze(y: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    shape, layer = _layout(tuple(like.shape[1:]))
    x, _ = layer.bijector(shape, {}).inverse_and_log_det(y)
    return tf.reshape(x, tf.shape(like))
