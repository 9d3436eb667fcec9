"""Variational dequantization."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from glow_tf import parameters
from glow_tf.arguments import at_least
from glow_tf.dequantization import random
from glow_tf.dequantization.base import Dequantizer
from glow_tf.description import check
from glow_tf.layers import Squeeze, Steps
from glow_tf.mode import Mode
from glow_tf.networks import ContextChannels, Network, Resnet
from glow_tf.parameters import Nest
from glow_tf.partitions import Channels, Checkerboard, Partition
from glow_tf.transforms import AffineExp, Transform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variational(Dequantizer):
    """Noise from a conditional flow that is trained jointly with the model (Ho et al. 2019, "Flow++", section 3.1).

      eps      logistic noise, with density sigmoid'(eps)
      t        = `depth` couplings of eps, whose networks are conditioned on the image
      u        = sigmoid(t)

      log q(u | image)  =  log sigmoid'(eps) - log|det dt/deps| - log sigmoid'(t)

    The paper's eps is normal. With logistic eps, the identity flow, as at initialisation, gives uniform noise, and the
    density need not vanish at the edges of a bin.

    Without a `partition`, 2x2 pixels are squeezed into channels if the sides are even; couplings halve the channels or,
    if their number is odd, use a checkerboard mask. Flat vectors are treated as sequences; a single position with an
    odd number of channels has uniform noise. The forward direction of the steps is from eps to t, so that with the
    gradient `reversible` memory does not grow with `depth`.

    Networks receive the image, at the positions of their input, as additional input channels, or as {"image": ...} in
    their context if they have `image_channels`. It takes the place of an `image` in the context of the flow, which only
    `features` receives: what else conditions the couplings needs another key.

    Attributes:
      network: conditioner of the couplings.
      depth: number of couplings.
      coupling: transform of the couplings.
      partition: how couplings divide the noise, without a squeeze, such as `Positions()` in Flow++; None for the above.
      features: network whose output conditions all couplings in place of the image; None for the image itself.
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
        Steps(depth=self.depth, network=self.network, coupling=self.coupling)  # raises if they do not fit together
        if self.partition is not None:
            check("partition", self.partition, Partition)
        if _reads_image_of_context(self.network):
            raise ValueError(
                "network=ContextChannels with the key 'image' would read the image that is dequantized, not that of "
                "the context: give the latter another key."
            )
        if self.features is not None:
            check("features", self.features, Network)
        at_least("feature_channels", self.feature_channels, 1)

    def check(self, shape):
        squeezed = self._squeezed(shape)
        if self.partition is not None:
            self.partition.check(squeezed)
        image_shape = self._image_shape(squeezed)
        self.network.check((*image_shape[:-1], squeezed[-1]))
        if self.features is not None:
            self.features.check(image_shape)
        given, taken = self._condition_channels(squeezed), self.network.image_channels
        if taken not in (0, given):
            raise ValueError(f"has a network with image_channels={taken}, and gives it {given}; it gets {shape}.")

    def parameters(self, shape, rng):
        squeezed = self._squeezed(shape)
        steps = self._steps(squeezed)
        if steps is None:
            return {}
        nest = steps.parameters(squeezed, rng)
        if self.features is None:
            return nest
        image = self._image_shape(squeezed)
        return {**nest, "features": self.features.parameters(rng, 1, image[-1], self.feature_channels, image)}

    def noise(self, images, tensors, seed, context=None):
        return self.noise_in(Mode(), images, tensors, seed, context)

    def noise_in(self, mode, images, tensors, seed, context=None):
        mode = _with_seed(mode, seed)
        eps, context = random.logistic_like(images, seed), self._with_image(mode, images, tensors, context)
        t, log_det = self._transformed(mode, self._squeeze(eps), tensors, context)
        t = self._unsqueeze(t, images)
        x, log_q = self.within_bins(images, tf.sigmoid(t), _log_slope(eps) - _log_slope(t))
        return x, log_q - log_det

    def initialize(self, images, tensors, seed, context=None):
        eps = self._squeeze(random.logistic_like(images, seed))
        shape = tuple(eps.shape[1:])
        steps = self._steps(shape)
        if steps is None:
            return super().initialize(images, tensors, seed, context)
        features = self._initialize_features(images, tensors, context)
        tensors = _updated(tensors, features)
        steps_context = self._with_image(Mode(), images, tensors, context)
        values, _ = steps.initialize(shape, _without_features(tensors), eps, steps_context)
        return {**features, **values}, self.noise(images, _updated(tensors, values), seed, context)

    @property
    def is_initialized_from_data(self):
        return any(network.is_initialized_from_data for network in self._networks)

    def decays(self, path, shape):
        part, _, network_path = path.partition("/")
        network = {"network": self.network, "features": self.features}.get(part)
        return network is not None and network.decays(network_path, shape[1:])

    def num_classes_needed(self):
        return max(network.num_classes_needed() for network in self._networks)

    def hidden_channels(self):
        return self.network.hidden_channels()

    def products(self, shape, batch_size):
        squeezed = self._squeezed(shape)
        steps = self._steps(squeezed)
        if steps is None:
            return []
        image_shape = self._image_shape(squeezed)
        products = steps.products(squeezed, batch_size)
        if self.features is None:
            return products
        return [*self.features.products(image_shape, batch_size, image_shape[-1], self.feature_channels), *products]

    @property
    def _networks(self) -> list[Network]:
        return [self.network, *([] if self.features is None else [self.features])]

    def _steps(self, shape: tuple[int, ...]) -> Steps | None:
        """Returns the couplings for squeezed noise; None if it cannot be divided, as for a single number."""
        if self.partition is None and shape[-1] % 2 and max(shape[:-1]) == 1:
            return None
        reads_image = self.network.image_channels > 0
        channels = self._condition_channels(shape)
        return Steps(
            depth=self.depth,
            network=self.network if reads_image else ContextChannels(inner=self.network, channels=channels),
            actnorm=False,
            permutation="none",
            coupling=self.coupling,
            partition=self.partition or (Checkerboard() if shape[-1] % 2 else Channels()),
            alternate=True,
        )

    def _transformed(self, mode: Mode, eps: tf.Tensor, tensors: Nest, context: Nest) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the couplings to squeezed noise; returns the result and the log-det, [B]."""
        shape = tuple(eps.shape[1:])
        steps = self._steps(shape)
        if steps is None:
            return eps, tf.zeros(tf.shape(eps)[:1], eps.dtype)
        return steps.bijector_in(mode, shape, _without_features(tensors), context).forward_and_log_det(eps)

    def _with_image(self, mode: Mode, images: tf.Tensor, tensors: Nest, context: Any) -> dict[str, Any]:
        """Returns the context with the image as it conditions the couplings: squeezed or divided, or its features."""
        context, image = _as_dictionary(context), self._image(images)
        if self.features is not None and "features" in tensors:
            image = self.features.apply_in(mode, self._prepared_features(tensors), image, context or None)
        return {**context, "image": image}

    def _initialize_features(self, images: tf.Tensor, tensors: Nest, context: Any) -> Nest:
        """Returns the values of the feature network that are set from the data, as a subset of the nest."""
        if self.features is None:
            return {}
        context = _as_dictionary(context) or None
        values, _ = self.features.initialize(self._prepared_features(tensors), self._image(images), context)
        return {"features": tf.nest.map_structure(lambda t: t[tf.newaxis], values)}

    def _prepared_features(self, tensors: Nest) -> Nest:
        prepared = self.features.prepare(tensors["features"])
        return tf.nest.map_structure(lambda t: tf.convert_to_tensor(t)[0], prepared)

    def _image(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the image as the input of the couplings or of the feature network: squeezed or divided."""
        image = self._squeeze(self.center(images))
        if self._divides_positions(tuple(image.shape[1:])):
            image = tf.concat(self.partition.divide(image), axis=-1)
        return image

    def _divides_positions(self, squeezed: tuple[int, ...]) -> bool:
        """Returns whether the parts into which couplings divide squeezed noise have other positions than the whole."""
        return self.partition is not None and tuple(self.partition.positions(squeezed)) != squeezed[:-1]

    def _image_shape(self, squeezed: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of the image as the input of the couplings or of the feature network."""
        if not self._divides_positions(squeezed):
            return squeezed
        return *self.partition.positions(squeezed), sum(self.partition.channels(squeezed))

    def _condition_channels(self, squeezed: tuple[int, ...]) -> int:
        """Returns the number of channels that condition the couplings besides the noise."""
        return self._image_shape(squeezed)[-1] if self.features is None else self.feature_channels

    def _layout(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Squeeze]:
        """Returns the shape with positions, which flat vectors lack, and the layer that squeezes it."""
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


def _as_dictionary(context: Any) -> Mapping[str, Any]:
    if not isinstance(context, Mapping | None):
        raise ValueError(
            "The context of a model with variational dequantization must be a dictionary, which the image joins."
        )
    return context or {}


def _reads_image_of_context(network: Network) -> bool:
    while isinstance(network, ContextChannels):
        if network.key == "image" and network.channels:
            return True
        network = network.inner
    return False


def _updated(tensors: Nest, values: Nest) -> Nest:
    """Returns `tensors` with `values`, a subset of the nest, in place of those at the same paths."""
    leaves = {**dict(parameters.flatten_nest(tensors)), **dict(parameters.flatten_nest(values))}
    return parameters.unflatten_nest(leaves)


def _without_features(tensors: Nest) -> Nest:
    return {name: nest for name, nest in tensors.items() if name != "features"}


def _with_seed(mode: Mode, seed: tf.Tensor) -> Mode:
    """Returns the mode with a seed for networks that are random in training: one per batch, as in the flow's layers."""
    if not mode.training:
        return mode
    return dataclasses.replace(mode, seed=tf.reduce_sum(tf.reshape(seed, [-1, 2]), axis=0))


def _log_slope(t: tf.Tensor) -> tf.Tensor:
    """Returns log sigmoid'(t), the log-density of the standard logistic distribution."""
    return tf.math.log_sigmoid(t) + tf.math.log_sigmoid(-t)
