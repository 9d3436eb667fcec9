"""Numerical invertibility of a flow: quantities to monitor before it fails."""

import math

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.layers import Steps
from glow_tf.models.flow import Flow
from glow_tf.transforms import Additive

# The families of `glow train` that take `--coupling`.
_WITH_COUPLINGS = ("glow", "flow_plus_plus")


def can_be_additive(config: ModelConfig) -> bool:
    """Returns whether a model is of a family with a choice of coupling, and has another than the additive one.

    Additive couplings are the most exact to invert, and cannot overflow.
    """
    steps = [layer for layer in config.layers if isinstance(layer, Steps)]
    return config.name in _WITH_COUPLINGS and any(not isinstance(layer.coupling, Additive) for layer in steps)


def condition_numbers(flow: Flow) -> dict[str, float]:
    """Returns the largest condition number of the 1x1 convolutions of each level: `level_1`, the finest, and so on.

    It is the ratio of the largest to the smallest singular value, the factor by which rounding errors can grow in the
    inverse: 1 for the initial rotations, and infinite for a singular or non-finite matrix.
    """
    numbers: dict[str, float] = {}
    for level, (layer, _, tensors) in zip(flow.config.levels, flow.iter_layers(), strict=True):
        with flow.runtime.scope():
            found = layer.matrices(tensors)
        for matrices in found:
            values = tf.linalg.svd(matrices, compute_uv=False)
            number = float(tf.reduce_max(values[..., 0] / values[..., -1]))
            name = f"level_{level}"
            numbers[name] = max(numbers.get(name, 1.0), number if math.isfinite(number) else math.inf)
    return numbers


def round_trip_errors(
    flow: Flow, x: tf.Tensor, labels: tf.Tensor | None = None, *, network_precision: str = "float32"
) -> tf.Tensor:
    """Returns the largest reconstruction error of each image from its latents, [B], for pixels in 0 .. 1.

    The `reversible` gradient rebuilds its activations in the same way: if this error reaches half a bin,
    2^-(n_bits + 1), images are not restored exactly, and gradients are no longer those of the loss.

    Args:
      flow: the model.
      x: [B, H, W, C], preprocessed.
      labels: [B] int for a conditional model.
      network_precision: as for `Flow.distribution`.
    """
    bijector = flow.bijector(labels if flow.config.conditional else None, network_precision=network_precision)
    # TFP would return the cached images; `tf.identity` makes a tensor that is not in its cache.
    differences = tf.abs(bijector.inverse(tf.identity(bijector.forward(x))) - x)
    return tf.reduce_max(differences, axis=list(range(1, x.shape.rank)))
