"""Bits per dimension on held-out images."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from glow_tf.models.flow import Flow
from glow_tf.training.loss import losses


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Bits/dim of a set of images under one draw of the dequantization noise.

    Attributes:
      mean: their mean.
      standard_error: the standard deviation of the images' values over the square root of their number.
      images: their number.
      label_error: the share of wrong guesses of the classifier, or None.
    """

    mean: float
    standard_error: float
    images: int
    label_error: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.3f} +- {self.standard_error:.3f} ({self.images:,} images)"


class Evaluator:
    """Evaluates a flow on batches; compiled once, used throughout a training run.

    Args:
      flow: the model.
      strategy: what distributes the batches over devices.
    """

    def __init__(self, flow: Flow, strategy: tf.distribute.Strategy):
        self._flow = flow
        self._strategy = strategy
        self._batch = tf.function(self._distributed_batch, reduce_retracing=True, autograph=False)

    def __call__(self, batches: tf.data.Dataset) -> Evaluation:
        """The evaluation over all of `batches`, made by `glow_tf.training.batches.dequantized`.

        Raises:
          ValueError: if there are no images.
        """
        bits, errors = [], []
        for batch in self._strategy.experimental_distribute_dataset(batches):
            for parts in self._batch(batch):
                bits.append(parts["bits_per_dim"].numpy())
                if "label_error" in parts:
                    errors.append(parts["label_error"].numpy())
        values = np.concatenate(bits).astype(np.float64) if bits else np.zeros([0])
        if not values.size:
            raise ValueError("There are no images to evaluate on.")
        error = values.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else math.nan
        label_error = float(np.concatenate(errors).mean()) if errors else None
        return Evaluation(float(values.mean()), float(error), int(values.size), label_error)

    def _distributed_batch(self, batch):
        def on_replica(batch):
            # The last batch may leave a replica without images, which is no input for a convolution.
            count = tf.shape(batch["x"])[0]
            missing = tf.maximum(1 - count, 0)
            x = tf.pad(batch["x"], [[0, missing], *[[0, 0]] * (batch["x"].shape.rank - 1)])
            parts = losses(self._flow, x, tf.pad(batch["labels"], [[0, missing]]), 0.0)
            return {name: part[:count] for name, part in parts.items()}

        parts = self._strategy.run(on_replica, args=(batch,))
        # Not gathered: replicas whose parts differ in size would be a collective operation of uneven shapes.
        local = {name: self._strategy.experimental_local_results(part) for name, part in parts.items()}
        return [dict(zip(local, values, strict=True)) for values in zip(*local.values(), strict=True)]
