"""Location of the first non-finite values in a flow."""

import collections
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import tensorflow as tf

from glow_tf.layers.base import Part
from glow_tf.mode import Mode
from glow_tf.models.flow import Flow
from glow_tf.models.likelihood import batch_likelihood
from glow_tf.shapes import leaving_shape


class _Located(NamedTuple):
    """A part of a layer, its name in the flow, and the number of channels kept if the others are factored out."""

    name: str
    part: Part
    channels_after_split: int | None


def first_nonfinite(
    flow: Flow, x: tf.Tensor, labels: tf.Tensor | None = None, *, network_precision: str = "float32"
) -> str | None:
    """Names the first layer whose output, log-det or gradient is not finite, by level, step and kind.

    Outputs are checked from the image to the latents, then gradients of the mean bits/dim on the way back, eagerly and
    one layer at a time. This is slow, and takes the memory of one layer if the gradient is `reversible`.

    Args:
      flow: the model.
      x: [B, H, W, C], preprocessed.
      labels: [B] int for a conditional model.
      network_precision: as for `Flow.distribution`.

    Returns:
      The location, such as `level 2, step 7 of 32, coupling: its output`; None if everything is finite.
    """
    if not _finite(x):
        return "the batch itself, before the first layer"
    with flow.runtime.scope():
        return _forward_and_backward(flow, x, labels, network_precision)


def first_nonfinite_of_noise(
    flow: Flow, batch: Mapping[str, tf.Tensor], *, network_precision: str = "float32"
) -> str | None:
    """Names the first parameter of learned dequantization noise whose gradient of the mean bits/dim is not finite.

    Args:
      flow: the model.
      batch: as returned by `glow_tf.models.likelihood.with_noise`.
      network_precision: as for `Flow.distribution`.

    Returns:
      Its path, as in `dequantizer/network/conv1/kernel: its gradient`; None if all are finite, or the noise is not
      learned.
    """
    named = flow.named_variables(trainable=True)
    learned = {path: variable for path, variable in named.items() if path.startswith("dequantizer/")}
    if not learned:
        return None
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(batch_likelihood(flow, batch, network_precision=network_precision).bits_per_dim)
    return _first_nonfinite_gradient(tape, loss, learned)


def _forward_and_backward(flow, x, labels, network_precision) -> str | None:
    image = x
    parts = list(_parts(flow, labels, network_precision))
    stored, latents = [], []
    for name, part, channels in parts:
        y, log_det = part.bijector.forward_and_log_det(x)
        if not (_finite(y) and _finite(log_det)):
            return f"{name}: its {'log-det' if _finite(y) else 'output'}"
        stored.append(x if flow.config.gradient == "stored" else None)
        x = y
        if channels is not None:
            x, factored = y[..., :channels], y[..., channels:]
            latents.append(factored)
    return _backward(flow, parts, stored, x, latents) or _nonfinite_gradient(flow, image, labels, network_precision)


def _nonfinite_gradient(flow, x, labels, network_precision) -> str | None:
    """Names a variable whose gradient is not finite; `_backward` skips those of splits, priors and scalings."""
    with tf.GradientTape() as tape:
        log_prob = flow.distribution(labels, network_precision=network_precision).log_prob(x)
        loss = -tf.reduce_mean(log_prob) / (flow.config.dimensions * math.log(2))
    return _first_nonfinite_gradient(tape, loss, flow.named_variables(trainable=True))


def _first_nonfinite_gradient(tape, loss, named) -> str | None:
    for path, gradient in zip(named, tape.gradient(loss, list(named.values())), strict=True):
        if gradient is not None and not _finite(gradient):
            return f"{path}: its gradient"
    return None


def _backward(flow, parts, stored, x, latents) -> str | None:
    scale = 1.0 / (flow.config.dimensions * x.shape[0])
    dlog_det = tf.fill(tf.shape(x)[:1], tf.cast(-scale, x.dtype))

    def base_gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = -scale * tf.reduce_sum(flow.base(tf.zeros([], z.dtype), 1.0).log_prob(z))
        return tape.gradient(loss, z)

    dx = base_gradient(x)
    for (name, part, channels), before in zip(reversed(parts), reversed(stored), strict=True):
        if channels is not None:
            factored = latents.pop()
            x, dx = tf.concat([x, factored], -1), tf.concat([dx, base_gradient(factored)], -1)
        sources = list(part.tensors.values())
        if before is None:
            x, dx, grads = part.bijector.inverse_and_vjp(x, dx, dlog_det, sources)
        else:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([before, *sources])
                outputs = part.bijector.forward_and_log_det(before)
            dx, *grads = tape.gradient(outputs, [before, *sources], output_gradients=[dx, dlog_det])
            x = before
        if not _finite(x):
            return f"{name}: its input, rebuilt from its output"
        for path, grad in zip(part.tensors, grads, strict=True):
            if grad is not None and not _finite(grad):
                return f"{name}: the gradient of {path}"
        if not _finite(dx):
            return f"{name}: the gradient of its input"
    return None


def _parts(flow: Flow, labels: tf.Tensor | None, network_precision: str) -> Iterator[_Located]:
    mode = Mode(network_precision=network_precision)
    context = None if labels is None else {"labels": labels}
    stacks = collections.Counter()
    for level, (layer, shape, tensors) in zip(flow.config.levels, flow.iter_layers(), strict=True):
        output_shape = layer.output_shape(shape)
        splits = leaving_shape(shape, output_shape) is not None
        parts = list(layer.parts(mode, shape, tensors, context))
        # RealNVP has several stacks of steps per level.
        number = stacks[level] + 1
        where = f"level {level}" if number == 1 or len(parts) == 1 else f"level {level}, stack {number}"
        for part in parts:
            channels = output_shape[-1] if splits and part is parts[-1] else None
            yield _Located(f"{where}, {part.name}", part, channels)
        stacks[level] += layer.is_recomputed


def _finite(x: tf.Tensor) -> bool:
    return bool(tf.reduce_all(tf.math.is_finite(x)))
