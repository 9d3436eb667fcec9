"""Likelihood of a batch, for training, evaluation, scoring and serving."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from glow_tf.bijectors import base
from glow_tf.config import ModelConfig
from glow_tf.models.variables import has_learned_dequantizer

if TYPE_CHECKING:
    from glow_tf.models.flow import Flow


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihood:
    """Likelihood of B dequantized images under a flow.

    Attributes:
      flow: the model.
      latents: [B, D]; for images outside the flow's support, whose density is 0, the latents of a grey image.
      log_dets: log-dets of the layers, [B] each, in nats; or only their sum, with which there are no `parts`.
      log_q: [B], the log-density of the dequantized images given the discrete ones, in nats.
    """

    flow: "Flow"
    latents: tf.Tensor
    log_dets: list[tf.Tensor]
    log_q: tf.Tensor

    @functools.cached_property
    def log_prob(self) -> tf.Tensor:
        """Log-density of the dequantized images, [B] in nats."""
        return self.log_prob_of_latents + base.sum_log_dets(self.log_dets, self.latents)

    @functools.cached_property
    def log_prob_of_latents(self) -> tf.Tensor:
        """Log-density of the latents under the base distribution, [B] in nats."""
        return tf.reduce_sum(self._base_log_prob(self.latents), axis=-1)

    @functools.cached_property
    def discrete_log_prob(self) -> tf.Tensor:
        """Log-probability of the discrete images, [B] in nats; in expectation over the noise, a lower bound."""
        return self.log_prob - self.log_q

    @functools.cached_property
    def bits_per_dim(self) -> tf.Tensor:
        """Bits per dimension of the discrete images, [B]."""
        return self._in_bits(self.log_q - self.log_prob)

    @functools.cached_property
    def parts(self) -> dict[str, tf.Tensor]:
        """Terms that sum to `bits_per_dim`, [B] each, in bits/dim.

        For each level, from 1 for the finest: `log_det/level_1`, from the log-det of its steps, and `prior/level_1`,
        from the density of the level's latents under their prior, learned or not. Also `dequantization`, from `log_q`.
        """
        config = self.flow.config
        sizes = [math.prod(shape) for shape in config.latent_shapes]
        latents = tf.split(self._base_log_prob(self.latents), sizes, axis=-1)
        terms: dict[str, list[tf.Tensor]] = {f"log_det/level_{level}": [] for level in range(1, len(sizes) + 1)}
        for level, latent in enumerate(latents, 1):
            terms[f"prior/level_{level}"] = [tf.reduce_sum(latent, axis=-1)]
        for level, layer, log_det in zip(config.levels, config.layers, self.log_dets, strict=True):
            terms[f"{'prior' if layer.is_prior else 'log_det'}/level_{level}"].append(log_det)
        parts = {name: self._in_bits(-base.sum_log_dets(found, self.latents)) for name, found in terms.items()}
        return {**parts, "dequantization": self._in_bits(self.log_q)}

    def _base_log_prob(self, latents: tf.Tensor) -> tf.Tensor:
        return self.flow.base(tf.zeros([], latents.dtype), 1.0).log_prob(latents)

    def _in_bits(self, nats: tf.Tensor) -> tf.Tensor:
        return nats / (self.flow.config.dimensions * math.log(2))


def likelihood(
    flow: "Flow",
    x: tf.Tensor,
    log_q: tf.Tensor,
    labels: tf.Tensor | None = None,
    *,
    context: Any = None,
    **options: Any,
) -> Likelihood:
    """Computes the likelihood of dequantized images.

    Args:
      flow: the model.
      x: [B, H, W, C], dequantized.
      log_q: [B], log-density of `x` given the discrete images, in nats.
      labels: [B] int, used only by a conditional model.
      context: nest of tensors [B, ...] or [1, ...], as for `Flow.distribution`.
      **options: as for `Flow.bijector`.
    """
    bijector = flow.bijector_of(x, labels if flow.config.conditional else None, context, **options)
    x, log_support = within_support(flow, x)
    latents, log_dets = bijector.forward_and_log_dets(x)
    if log_support is not None:
        log_dets = [log_dets[0] + log_support, *log_dets[1:]]
    return Likelihood(flow, latents, log_dets, log_q)


def within_support(flow: "Flow", x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Replaces images outside the flow's support, whose density is 0, by grey ones.

    Args:
      flow: the model.
      x: [B, H, W, C], dequantized.

    Returns:
      The images, and what is to be added to their log-densities, [B]: -inf outside, 0 inside; None if the support is
      unbounded.
    """
    inside = flow.in_support(x)
    if inside is None:
        return x, None
    # Keeps NaNs out of the gradients of the other images.
    grey = tf.where(base.per_event(inside, x), x, tf.zeros([], x.dtype))
    return grey, tf.where(inside, tf.zeros([], x.dtype), tf.constant(-math.inf, x.dtype))


def with_noise(
    batch: Mapping[str, tf.Tensor], config: ModelConfig, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> dict[str, tf.Tensor]:
    """Adds dequantization noise to a batch or, if the noise is learned, the seeds to draw it from.

    Args:
      batch: `images`: [B, H, W, C] uint8, and `labels`: [B] int32, which only conditional models need.
      config: the model.
      seed: [2], a stateless seed, or [B, 2], one for each image.
      dtype: dtype of `x` and `log_q`.

    Returns:
      `x`: [B, H, W, C], dequantized, and `log_q`: [B]; or, if the noise is learned, `images` and `seeds`: [B, 2].
      Both with the labels, if there are any.
    """
    images = batch["images"]
    if has_learned_dequantizer(config):
        if seed.shape.rank == 1:
            seed = tf.random.stateless_uniform([tf.shape(images)[0], 2], seed, None, None, tf.int32)
        return {**batch, "seeds": seed}
    context = {"labels": batch["labels"]} if config.conditional else None
    x, log_q = config.dequantizer.noise(tf.cast(images, dtype), {}, seed, context)
    return {"x": x, "log_q": log_q, **({"labels": batch["labels"]} if "labels" in batch else {})}


def batch_likelihood(
    flow: "Flow",
    batch: Mapping[str, tf.Tensor],
    *,
    network_precision: str = "float32",
    training: bool = False,
    seed: tf.Tensor | None = None,
) -> Likelihood:
    """Computes the likelihood of a batch with noise.

    Args:
      flow: the model.
      batch: as returned by `with_noise`.
      network_precision, training, seed: as for `Flow.distribution`.
    """
    x, log_q = dequantized_batch(flow, batch, network_precision=network_precision, training=training)
    options = {"network_precision": network_precision, "training": training, "seed": seed}
    return likelihood(flow, x, log_q, batch.get("labels"), **options)


def dequantized_batch(
    flow: "Flow", batch: Mapping[str, tf.Tensor], *, network_precision: str = "float32", training: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `x` and `log_q` of a batch from `with_noise`; learned noise is added here."""
    if "x" in batch:
        return batch["x"], batch["log_q"]
    labels = batch.get("labels") if flow.config.conditional else None
    options = {"network_precision": network_precision, "training": training}
    return flow.dequantize(batch["images"], labels, batch["seeds"], **options)
