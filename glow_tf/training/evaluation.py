"""Bits per dimension on held-out images."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.data import DataError
from glow_tf.models.flow import Flow
from glow_tf.models.likelihood import batch_likelihood
from glow_tf.runtime.sharding import pad_batch
from glow_tf.training.devices import distributed
from glow_tf.training.loss import label_losses
from glow_tf.training.workers import Workers


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Bits/dim of a set of images under one draw of the dequantization noise.

    Attributes:
      mean: mean over the images.
      standard_error: standard deviation over the images, divided by the square root of their number; NaN for one image.
      images: number of images.
      label_error: error rate of the classifier; None if there is none.
      parts: terms that sum to the mean, in bits/dim: `log_det/level_1`, `prior/level_1` and so on, and
        `dequantization`.
    """

    mean: float
    standard_error: float
    images: int
    label_error: float | None = None
    parts: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{with_error(self.mean, self.standard_error)} ({count_of(self.images, 'image')})"


def with_error(mean: float, error: float, digits: int = 3) -> str:
    """Formats a mean and its standard error; the mean alone if the error is not finite."""
    text = f"{mean:.{digits}f}"
    return f"{text} +- {error:.{digits}f}" if math.isfinite(error) else text


def count_of(number: int, noun: str) -> str:
    """Formats a count with its noun: `1 image`, `2,000 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Evaluator:
    """Evaluates a flow on batches; compiled once and used throughout a training run.

    Args:
      flow: the model.
      strategy: distributes the batches over devices.
      before_batch: called before each batch; it may raise.
      batch_size: batch size of all devices together. XLA compiles for this size only: smaller batches are padded.
    """

    def __init__(
        self,
        flow: Flow,
        strategy: tf.distribute.Strategy,
        before_batch: Callable[[], None] = lambda: None,
        *,
        batch_size: int = 1,
    ):
        self._flow = flow
        self._strategy = strategy
        self._images_of_replica = -(-batch_size // strategy.num_replicas_in_sync)
        self._before_batch = before_batch
        self._workers = Workers(strategy)
        self._batch = tf.function(self._distributed_batch, reduce_retracing=True, autograph=False)

    def __call__(self, batches: tf.data.Dataset) -> Evaluation:
        """Returns the evaluation on all of `batches`, in the format of `glow_tf.training.batches.dequantized`.

        Raises:
          DataError: if there are no images.
        """
        images: dict[str, list[np.ndarray]] = {}
        for batch in distributed(self._strategy, batches):
            self._before_batch()
            for parts in self._batch(batch):
                for name, part in parts.items():
                    images.setdefault(name, []).append(part.numpy())
        values = {name: np.concatenate(parts).astype(np.float64) for name, parts in images.items()}
        if not values:
            raise DataError("There are no images to evaluate on.")
        local_bits = values["bits_per_dim"]
        totals = [local_bits.size, (local_bits**2).sum(), *(part.sum() for part in values.values())]
        count, squares, *sums = self._workers.sum(totals).tolist()
        count = round(count)
        means = {name: total / count for name, total in zip(values, sums, strict=True)}
        bits, label_error = means.pop("bits_per_dim"), means.pop("label_error", None)
        variance = max(0.0, squares - count * bits**2) / (count - 1) if count > 1 else math.nan
        return Evaluation(bits, math.sqrt(variance / count), count, label_error, means)

    def _distributed_batch(self, batch):
        def on_replica(batch):
            # The last batch may leave a replica without images, and a convolution needs at least one.
            count = tf.shape(batch["labels"])[0]
            # XLA compiles for one size only.
            min_size = self._images_of_replica if self._flow.runtime.xla else 1
            padded = {name: pad_batch(t, tf.maximum(0, min_size - count)) for name, t in batch.items()}
            parts = self._flow.runtime.map_batch(self._image_values, padded)
            return {name: part[:count] for name, part in parts.items()}

        parts = self._strategy.run(on_replica, args=(batch,))
        # Not gathered: parts that differ in size between replicas would need a collective operation on uneven shapes.
        local = {name: self._strategy.experimental_local_results(part) for name, part in parts.items()}
        return [dict(zip(local, values, strict=True)) for values in zip(*local.values(), strict=True)]

    def _image_values(self, batch) -> dict[str, tf.Tensor]:
        """Returns `bits_per_dim`, its parts and, with a classifier, `label_error`, each [B]."""
        found = batch_likelihood(self._flow, batch)
        values = {**found.parts, "bits_per_dim": found.bits_per_dim}
        if self._flow.config.classifier:
            values["label_error"] = label_losses(self._flow, found.latents, batch["labels"])["label_error"]
        return values
