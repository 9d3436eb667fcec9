"""Multi-scale flow from images to flat latents."""

import functools
import itertools
import math

import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.shapes import leaving_shape


class ToLatents(base.Bijector):
    """Base class of multi-level bijectors from images to flat latents. Subclasses define `forward_through_levels`.

    Args:
      shapes: event shapes, as for `MultiScale`.
    """

    def __init__(self, shapes: list[tuple[int, ...]], **kwargs):
        self._shapes = [tuple(shape) for shape in shapes]
        super().__init__(event_ndims=len(shapes[0]), inverse_event_ndims=1, **kwargs)

    def forward_and_log_det(self, x):
        z, log_dets = self.forward_and_log_dets(x)
        return z, base.sum_log_dets(log_dets, z)

    def forward_and_log_dets(self, x: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Computes `forward_and_log_det` with the log-det of each layer, [B], instead of their sum."""
        z, log_dets, _ = self.forward_through_levels(x)
        return z, log_dets

    def forward_through_levels(self, x: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Computes `forward_and_log_dets` and the features at the end of each level, [B, h, w, c].

        The features are the input of the layer that ends the level, before variables are factored out; for the last
        level, they are the top part of the latent.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward_through_levels.")

    def _forward_event_shape(self, shape):
        return shape[: shape.rank - len(self._shapes[0])].concatenate([math.prod(self._shapes[0])])

    def _inverse_event_shape(self, shape):
        return shape[:-1].concatenate(self._shapes[0])

    def _forward_event_shape_tensor(self, shape):
        leading = tf.size(shape) - len(self._shapes[0])
        return tf.concat([shape[:leading], [math.prod(self._shapes[0])]], axis=0)

    def _inverse_event_shape_tensor(self, shape):
        return tf.concat([shape[:-1], self._shapes[0]], axis=0)


class MultiScale(ToLatents):
    """A chain of layers that factors out the last channels into the latent wherever the shape shrinks.

      forward:          x: [H, W, C]  ->  z: [D], D = H * W * C
      forward log-det:  sum of the layers' log-dets

    z consists of the variables factored out at each level, flattened in row-major order, followed by those at the top:
    the order of eps in the official code. With whitening splits and top prior, z is standard normal under the model.

    Args:
      layers: bijectors of this package, from image to latent.
      shapes: event shapes of the input of each layer and of the output of the last, as returned by
        `ModelConfig.shapes`. Where a shape has fewer elements than the previous one, as after a `Split`, the rest is
        factored out.

    Kingma & Dhariwal 2018, figure 2b; Dinh et al. 2017, section 3.6.
    """

    def __init__(
        self,
        layers: list[base.Bijector],
        shapes: list[tuple[int, ...]],
        *,
        validate_args: bool = False,
        name: str = "multi_scale",
    ):
        if len(shapes) != len(layers) + 1:
            raise ValueError(f"{len(layers)} layers need {len(layers) + 1} shapes, not {len(shapes)}.")
        self._layers = list(layers)
        self._leaving = [leaving_shape(before, after) for before, after in itertools.pairwise(map(tuple, shapes))]
        super().__init__(shapes, validate_args=validate_args, name=name)

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the parts of the latent, from the finest level to the top."""
        return [*(shape for shape in self._leaving if shape), self._shapes[-1]]

    def forward_through_levels(self, x):
        log_dets, parts, levels = [], [], []
        for layer, shape, leaving in zip(self._layers, self._shapes[1:], self._leaving, strict=True):
            if leaving:
                levels.append(x)
            x, log_det = layer.forward_and_log_det(x)
            log_dets.append(log_det)
            if leaving:
                x, factored = tf.split(x, [shape[-1], leaving[-1]], axis=-1)
                parts.append(factored)
        parts.append(x)
        z = tf.concat([tf.reshape(p, [-1, math.prod(p.shape[1:])]) for p in parts], axis=-1)
        return z, log_dets, [*levels, x]

    def inverse_and_log_det(self, y):
        shapes = self.latent_shapes
        parts = tf.split(y, [math.prod(shape) for shape in shapes], axis=-1)
        parts = [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes, strict=True)]
        log_dets = []
        x = parts.pop()
        for layer, leaving in zip(reversed(self._layers), reversed(self._leaving), strict=True):
            if leaving:
                x = tf.concat([x, parts.pop()], axis=-1)
            x, log_det = layer.inverse_and_log_det(x)
            log_dets.append(log_det)
        return x, base.sum_log_dets(log_dets, x)

    def _batch_shape(self, x_event_ndims):
        shapes = [layer.experimental_batch_shape() for layer in self._layers]
        return functools.reduce(tf.broadcast_static_shape, shapes, tf.TensorShape([]))

    def _batch_shape_tensor(self, x_event_ndims):
        shapes = [layer.experimental_batch_shape_tensor() for layer in self._layers]
        return functools.reduce(tf.broadcast_dynamic_shape, shapes, tf.zeros([0], tf.int32))
