"""Likelihoods of individual images: plain, by term, and as an importance-weighted bound."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.dequantization import random
from glow_tf.models import checks, health
from glow_tf.models.flow import Flow
from glow_tf.models.likelihood import batch_likelihood, with_noise
from glow_tf.runtime.sharding import equal_batches


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Likelihoods of N images.

    Attributes:
      bits_per_dim: [N], under one draw of the dequantization noise.
      importance_weighted: [N] bits/dim, the bound over all draws; equal to `bits_per_dim` for a single draw.
      parts: the terms of `bits_per_dim`, which is their sum, [N] bits/dim each, keyed by name: `log_det/level_1`,
        `prior/level_1` and so on, and `dequantization`.
      latent_nats: [N], the log-density of the latent under the base distribution, in nats per dimension.
      predicted: [N] int, the label that the classifier predicts; None for a model without one.
    """

    bits_per_dim: np.ndarray
    importance_weighted: np.ndarray
    parts: Mapping[str, np.ndarray]
    latent_nats: np.ndarray
    predicted: np.ndarray | None = None


class Scorer:
    """Computes the likelihoods of images, compiled once.

    The importance-weighted bound (Burda et al. 2016; for dequantization Ho et al. 2019, "Flow++", section 3.1) over k
    draws u_1 ... u_k of the noise is

      log 1/k sum_i p(x + u_i) / q(u_i | x)

    In expectation, it is a lower bound on the log-probability of the discrete image that grows with k. With one draw it
    is tight only if the density of the noise matches that of the flow within the image's bin.

    Args:
      flow: the model.
    """

    def __init__(self, flow: Flow):
        self.flow = flow
        self._score = tf.function(self._score_batch, autograph=False, reduce_retracing=True)

    def __call__(self, batches: Iterable[Mapping[str, np.ndarray]], *, draws: int = 1, seed: int = 0) -> Scores:
        """Scores all images of `batches`.

        Args:
          batches: batches of `images` [B, H, W, C] uint8 and `labels` [B] int, which only conditional models need.
          draws: k, the number of noise draws; all scores but `importance_weighted` are those of the first one.
          seed: seed of the first draw, whose noise depends on it and the image alone; the next draw has the next seed.
            With seed 0, the first draw is that of the evaluations in training.

        Raises:
          ValueError: if there are no images, they or their labels do not fit the model, or k is less than 1.
        """
        if draws < 1:
            raise ValueError(f"draws={draws} must be at least 1.")
        dimensions = self.flow.config.dimensions
        found: dict[str, list[np.ndarray]] = {}
        for batch, count in _batches(self.flow, batches):
            images, labels, bound = batch["images"], batch.get("labels"), None
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
            # With one draw, the bound equals bits_per_dim, which the division would round.
            bits = (math.log2(draws) - bound) / dimensions if draws > 1 else scores["bits_per_dim"]
            found.setdefault("bound", []).append(bits)
        values = {name: np.concatenate(parts) for name, parts in found.items()}
        plain, bound, latent_nats = (values.pop(name) for name in ("bits_per_dim", "bound", "latent_nats"))
        predicted = values.pop("predicted").astype(int) if self.flow.config.classifier else None
        return Scores(plain, bound, values, latent_nats, predicted)

    def _score_batch(self, images, labels, seed):
        batch = {"images": images, **({} if labels is None else {"labels": labels})}
        batch = with_noise(batch, self.flow.config, random.seeds_of(images, seed), self.flow.dtype)
        return self.flow.runtime.map_batch(self._scores, batch)

    def _scores(self, batch):
        found = batch_likelihood(self.flow, batch)
        latent_nats = found.log_prob_of_latents / self.flow.config.dimensions
        values = {**found.parts, "bits_per_dim": found.bits_per_dim, "latent_nats": latent_nats}
        if self.flow.config.classifier:
            values["predicted"] = tf.argmax(self.flow.class_logits(found.latents, batch.get("labels")), axis=-1)
        return values


def round_trips(flow: Flow, batches: Iterable[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Returns the largest absolute reconstruction error of each image, [N], for pixels scaled to [0, 1].

    Below half a bin, 2^-(n_bits + 1), every pixel is restored exactly.
    """

    def compute_errors(images, labels):
        return flow.runtime.map_batch(functools.partial(health.round_trip_errors, flow), flow.centers(images), labels)

    errors = tf.function(compute_errors, autograph=False, reduce_retracing=True)
    return np.concatenate(
        [errors(batch["images"], batch.get("labels")).numpy()[:count] for batch, count in _batches(flow, batches)]
    )


def _batches(flow: Flow, batches: Iterable[Mapping[str, np.ndarray]]) -> Iterator[tuple[dict[str, tf.Tensor], int]]:
    """Yields checked batches, padded to one size for XLA, each with its number of images before padding.

    Raises:
      ValueError: if there are no images, or they or their labels do not fit the model.
    """
    checked = (_checked(flow.config, batch) for batch in batches)
    filled = (batch for batch in checked if batch["images"].shape[0])
    counted = equal_batches(filled) if flow.runtime.xla else ((batch, batch["images"].shape[0]) for batch in filled)
    empty = True
    for batch, count in counted:
        empty = False
        yield tf.nest.map_structure(tf.convert_to_tensor, batch), count
    if empty:
        raise ValueError("There are no images.")


def _checked(config: ModelConfig, batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Returns the images of a batch and, for a conditional model, their labels, [B] each."""
    images = checks.check_images(config, batch["images"])
    if not config.conditional:
        return {"images": images}
    labels = checks.check_label_count(config, checks.check_labels(config, batch.get("labels")), images.shape[0])
    return {"images": images, "labels": tf.broadcast_to(labels, images.shape[:1])}
