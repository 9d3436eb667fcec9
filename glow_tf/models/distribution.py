"""The distribution of a flow and its bijector, which read the flow's variables at each evaluation."""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from glow_tf import bijectors
from glow_tf.bijectors.multiscale import ToLatents
from glow_tf.runtime.internals import untracked
from glow_tf.runtime.sharding import pad_if_empty

tfb = tfp.bijectors
tfd = tfp.distributions


class FlowBijector(ToLatents):
    """Bijector from preprocessed images [H, W, C] to latents [D], with layers built from the current variables.

    Args:
      make_layers: builds the layers from the labels, [B] int32, or None, and the context, with the same B, or None; for
        `layers`, B may be 1 for all examples.
      shapes: as for `bijectors.MultiScale`.
      tracked: nest of the variables that `make_layers` reads, which become those of this bijector.
      labels: int32 of any shape, which is the batch shape; None for a model without labels.
      context: nest of tensors [B, ...] that the flow is conditioned on; the batch shape is [B], or [] if B is 1. None
        for a model without context.
      scope: returns the context manager in which ops are created, such as `Runtime.scope`.
    """

    def __init__(
        self,
        make_layers: Callable[[tf.Tensor | None, Any], list[bijectors.Bijector]],
        shapes: list[tuple[int, ...]],
        tracked: Mapping[str, Any],
        labels: tf.Tensor | None = None,
        context: Any = None,
        *,
        scope: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
        validate_args: bool = False,
        name: str = "flow",
    ):
        parameters = dict(locals())
        self._make_layers, self._scope = make_layers, scope
        self._context = untracked(self, context)
        self._tracked = untracked(self, tracked)
        self._labels = labels
        super().__init__(shapes, validate_args=validate_args, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {"labels": tfp.util.ParameterProperties(event_ndims=0)}

    @property
    def labels(self) -> tf.Tensor | None:
        """The labels, int32, or None."""
        return self._labels

    @property
    def layers(self) -> list[bijectors.Bijector]:
        """The layers built from the current variables, from image to latents."""
        return self._make_layers(None if self._labels is None else tf.reshape(self._labels, [-1]), self._context)

    def __getitem__(self, slices):
        self.check_sliceable()
        return super().__getitem__(slices)

    def check_sliceable(self) -> None:
        """Checks that the batch shape can be sliced.

        Raises:
          ValueError: if there is a context.
        """
        if self._context is not None:
            raise ValueError("A flow with a context cannot be sliced: slice the context, and build it from that.")

    def forward_through_levels(self, x):
        return self._evaluate("forward_through_levels", x, self._shapes[0])

    def inverse_and_log_det(self, y):
        return self._evaluate("inverse_and_log_det", y, (math.prod(self._shapes[0]),))

    def _evaluate(self, direction, x, event):
        """Calls a method of the current layers on `x`: [B, *event]; an empty batch becomes one example of zeros."""
        if not x.shape[1:].is_compatible_with(event):
            expected = ", ".join(map(str, event))
            raise ValueError(f"{self.name} takes tensors of shape [..., {expected}]; it gets {x.shape}.")
        x = tf.ensure_shape(x, [None, *event])
        count, may_be_empty = tf.shape(x)[0], not x.shape[0]
        x = pad_if_empty(x)

        def for_each_example(leaf):
            return _for_each_example(pad_if_empty(leaf), x)

        labels = None if self._labels is None else for_each_example(tf.reshape(self._labels, [-1]))
        context = None if self._context is None else tf.nest.map_structure(for_each_example, self._context)
        with self._scope():
            multi_scale = bijectors.MultiScale(self._make_layers(labels, context), self._shapes)
            results = getattr(multi_scale, direction)(x)
        return tf.nest.map_structure(lambda t: t[:count], results) if may_be_empty else results

    def _with_flat_batch(self, static, batch):
        own = self.experimental_batch_shape()
        if own.rank == 0 or (static.rank == 1 and own == static):
            return self

        def flat(leaf, ndims):
            event = tf.shape(leaf)[ndims:]
            leaf = tf.reshape(tf.broadcast_to(leaf, tf.concat([batch, event], 0)), tf.concat([[-1], event], 0))
            return tf.ensure_shape(leaf, [static.num_elements(), *leaf.shape[1:]])

        labels, context = self._labels, self._context
        if labels is not None and labels.shape.rank:
            labels = flat(labels, labels.shape.rank)
        if context is not None:
            context = tf.nest.map_structure(lambda leaf: flat(leaf, 1), context)
        options = {"scope": self._scope, "name": self.name}
        return FlowBijector(self._make_layers, self._shapes, self._tracked, labels, context, **options)

    def _batch_shape(self, x_event_ndims):
        shape = super()._batch_shape(x_event_ndims)
        for leaf in self._context_leaves(x_event_ndims):
            if leaf.shape[0] != 1:
                shape = tf.broadcast_static_shape(shape, leaf.shape[:1])
        return shape

    def _batch_shape_tensor(self, x_event_ndims):
        shape = super()._batch_shape_tensor(x_event_ndims)
        for leaf in self._context_leaves(x_event_ndims):
            if leaf.shape[0] != 1:
                shape = tf.broadcast_dynamic_shape(shape, tf.shape(leaf)[:1])
        return shape

    def _context_leaves(self, x_event_ndims):
        is_one_event = x_event_ndims == self.forward_min_event_ndims
        return [] if self._context is None or not is_one_event else tf.nest.flatten(self._context)


def _for_each_example(t, x):
    """Repeats `t`: [1, ...] for each example of `x`: [B, ...]; returns tensors [B, ...] as they are."""
    if t.shape[0] is None or (t.shape[0] == 1 and x.shape[0] != 1):
        return tf.broadcast_to(t, tf.concat([tf.shape(x)[:1], tf.shape(t)[1:]], 0))
    return t


class FlowDistribution(tfd.TransformedDistribution):
    """The distribution of preprocessed images whose latents have a given distribution.

    A `log_prob`, or a sample with its `log_prob`, takes a single evaluation of the flow.

    Args:
      distribution: distribution of the latents [D], a `tfd.Sample` of one with a scale.
      bijector: bijector from latents to images, the `tfb.Invert` of a `FlowBijector`.
      support: returns whether the density of images [..., H, W, C] can be nonzero, [...] bool, or None if it always
        can. A `support` of None means the same.
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        bijector: tfb.Invert,
        support: Callable[[tf.Tensor], tf.Tensor] | None = None,
        validate_args: bool = False,
        name: str = "flow",
    ):
        parameters = dict(locals())
        self._support = support
        super().__init__(distribution, bijector, validate_args=validate_args, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return super()._parameter_properties(dtype, num_classes)

    def __getitem__(self, slices):
        self.bijector.bijector.check_sliceable()
        return super().__getitem__(slices)

    def _log_prob(self, x):
        self._check_density()
        inside = None if self._support is None else self._support(x)
        if inside is not None:
            # Keeps NaNs out of the gradients of the other images.
            pixels = tf.reshape(inside, tf.concat([tf.shape(inside), tf.ones([self.event_shape.rank], tf.int32)], 0))
            x = tf.where(pixels, x, tf.zeros([], x.dtype))
        z, log_dets = self.bijector.bijector._augmented_forward(x)
        log_prob = self.distribution.log_prob(z) + log_dets["fldj"]
        return log_prob if inside is None else tf.where(inside, log_prob, tf.constant(-math.inf, log_prob.dtype))

    def _sample_and_log_prob(self, sample_shape, seed):
        self._check_density()
        z, log_prob = self.distribution.experimental_sample_and_log_prob(sample_shape, seed)
        x, log_dets = self.bijector.bijector._augmented_inverse(z)
        return x, log_prob - log_dets["ildj"]

    def _check_density(self):
        """Raises ValueError if the temperature is known to be 0, where log_prob would be NaN."""
        scale = self.distribution.distribution.scale
        static = None if isinstance(scale, tfp.util.DeferredTensor) else tf.get_static_value(scale)
        if static is not None and not np.all(static):
            raise ValueError("At temperature 0 there is no density: log_prob needs a temperature above 0.")
