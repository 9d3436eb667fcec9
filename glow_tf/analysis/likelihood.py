"""The likelihood of single images: plain, in parts, and as an importance-weighted bound."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.models import health, quantization
from glow_tf.models.checks import check_labels
from glow_tf.models.flow import Flow
from glow_tf.runtime.sharding import equal_batches, map_shards


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Likelihoods of N images.

    Attributes:
      bits_per_dim: [N], under one draw of uniform dequantization noise.
      importance_weighted: [N] bits/dim of the bound over all draws; equal to `bits_per_dim` for one.
      parts: by name, [N] bits/dim: `log_det/level_1`, `prior/level_1` and so on, whose sum with n_bits is
        `bits_per_dim`.
      latent_nats: [N], the log-density of the latent under the base distribution, in nats per dimension.
    """

    bits_per_dim: np.ndarray
    importance_weighted: np.ndarray
    parts: Mapping[str, np.ndarray]
    latent_nats: np.ndarray


def likelihood_parts(
    flow: Flow, x: tf.Tensor, labels: tf.Tensor | None = None
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Computes the bits/dim of images, their parts, and the latents.

    Args:
      flow: the model.
      x: [B, H, W, C], preprocessed and dequantized.
      labels: [B] int, used by a conditional model alone.

    Returns:
      [B] each: `bits_per_dim`, and its parts in bits/dim, named as by `Flow.log_prob_parts`, whose sum with n_bits it
      is; and the latents [B, D].
    """
    nats, z = flow.log_prob_parts(x, labels if flow.config.conditional else None)
    parts = {name: quantization.nats_to_bits_per_dim(-part, flow.config.dimensions) for name, part in nats.items()}
    # Not `tf.add_n`, whose order, and hence last digit, depends on which part is there first.
    parts["bits_per_dim"] = flow.bits_per_dim_of(tf.reduce_sum(tf.stack(list(nats.values())), axis=0))
    return parts, z


class Scorer:
    """Scores images, compiled once.

    The importance-weighted bound (Burda et al. 2016; for dequantization Ho et al. 2019, "Flow++", section 3.1) over k
    draws u_1 ... u_k of the noise is

      log 1/k sum_i p(x + u_i)

    a lower bound of the log-probability of the discrete image that grows with k, and that one draw reaches only where
    the density is the same all over the image's bin.

    Args:
      flow: the model.
    """

    def __init__(self, flow: Flow):
        self.flow = flow
        self._score = tf.function(self._score_batch, autograph=False, reduce_retracing=True)

    def __call__(self, batches: Iterable[Mapping[str, np.ndarray]], *, draws: int = 1, seed: int = 0) -> Scores:
        """Scores all images of `batches`.

        Args:
          batches: of `images` [B, H, W, C] uint8 and `labels` [B] int; the latter is used by a conditional model alone.
          draws: k, the number of draws of the noise; the first one gives the plain figures.
          seed: of the noise of the first draw, which depends on it and on each image; the next has the next seed. With
            seed 0 the first is that of the evaluations in training.

        Raises:
          ValueError: if there are no images, or k is less than 1.
        """
        if draws < 1:
            raise ValueError(f"draws={draws} must be at least 1.")
        dimensions = self.flow.config.dimensions
        found: dict[str, list[np.ndarray]] = {}
        for batch, count in _batches(self.flow, batches):
            images, labels = tf.convert_to_tensor(batch["images"]), tf.cast(batch["labels"], tf.int32)
            bound = None
            for draw in range(draws):
                scores = {
                    name: value.numpy()[:count].astype(np.float64)
                    for name, value in self._score(images, labels, tf.constant([0, seed + draw])).items()
                }
                log2_prob = -scores["bits_per_dim"] * dimensions
                bound = log2_prob if bound is None else np.logaddexp2(bound, log2_prob)
                if draw == 0:
                    for name, value in scores.items():
                        found.setdefault(name, []).append(value)
            found.setdefault("bound", []).append((math.log2(draws) - bound) / dimensions)
        if not found:
            raise ValueError("There are no images to score.")
        values = {name: np.concatenate(parts) for name, parts in found.items()}
        plain, bound, latent_nats = (values.pop(name) for name in ("bits_per_dim", "bound", "latent_nats"))
        return Scores(plain, bound, values, latent_nats)

    def _score_batch(self, images, labels, seed):
        x = quantization.dequantize_each(images, self.flow.config.n_bits, seed, self.flow.dtype)
        return map_shards(self._scores, x, labels, xla=self.flow.xla)

    def _scores(self, x, labels):
        scores, z = likelihood_parts(self.flow, x, labels)
        base = self.flow.base(tf.zeros([], z.dtype), 1.0)
        return {**scores, "latent_nats": tf.reduce_mean(base.log_prob(z), axis=-1)}


def round_trips(flow: Flow, batches: Iterable[Mapping[str, np.ndarray]]) -> np.ndarray:
    """The largest difference of each image to what comes back from its latents, [N], in the unit of pixels 0 .. 1.

    Below half a bin, 2^-(n_bits + 1), every pixel comes back as it was.
    """

    def errors_of(images, labels):
        x = quantization.bin_centers(images, flow.config.n_bits, flow.dtype)
        return map_shards(functools.partial(health.round_trip_errors, flow), x, labels, xla=flow.xla)

    errors = tf.function(errors_of, autograph=False, reduce_retracing=True)
    return np.concatenate(
        [
            errors(batch["images"], tf.cast(batch["labels"], tf.int32)).numpy()[:count]
            for batch, count in _batches(flow, batches)
        ]
    )


def _batches(flow: Flow, batches: Iterable[Mapping[str, np.ndarray]]) -> Iterator[tuple[Mapping[str, np.ndarray], int]]:
    """The batches as the flow is computed of them, with checked labels, and how many images of each count."""
    for batch, count in equal_batches(batches) if flow.xla else ((batch, len(batch["images"])) for batch in batches):
        if flow.config.conditional:
            check_labels(flow.config, batch["labels"])
        yield batch, count
