"""The training objective."""

import math
from collections.abc import Mapping

import tensorflow as tf

from glow_tf.models.flow import Flow
from glow_tf.models.likelihood import batch_likelihood


def losses(
    flow: Flow,
    batch: Mapping[str, tf.Tensor],
    label_loss_weight: float = 0.0,
    labelled_share: float = 1.0,
    *,
    network_precision: str = "float32",
    training: bool = False,
    seed: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Computes the objective of the official code and its terms, for each image.

    Args:
      flow: the model.
      batch: `labels`: [B] int32, negative for images without one; and images with noise, see
        `glow_tf.models.likelihood.with_noise`.
      label_loss_weight: weight of the classification loss; a nonzero one needs a model with a classifier.
      labelled_share: fraction of images that have a label. Division by it makes the mean over many batches equal to
        that over the labelled images, however few of them are in a batch or in a part of one.
      network_precision, training, seed: as for `Flow.distribution`.

    Returns:
      `loss` = bits_per_dim + label_loss_weight * label_bits, `bits_per_dim`, and with a classifier `label_bits` (its
      cross-entropy in bits) and `label_error` (1 where its prediction is wrong), both divided by `labelled_share` and 0
      without a label; each [B].
    """
    found = batch_likelihood(flow, batch, network_precision=network_precision, training=training, seed=seed)
    bits = found.bits_per_dim
    if not flow.config.classifier:
        return {"loss": bits, "bits_per_dim": bits}
    parts = label_losses(flow, found.latents, batch["labels"])
    if labelled_share != 1:
        parts = {name: part / labelled_share for name, part in parts.items()}
    return {"loss": bits + label_loss_weight * parts["label_bits"], "bits_per_dim": bits, **parts}


def label_losses(flow: Flow, z: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `label_bits` and `label_error`, each [B], of the classifier on latents `z`: [B, D]; 0 without a label."""
    logits = flow.class_logits(z, labels)
    label_bits = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits) / math.log(2)
    error = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) != labels, z.dtype)
    labelled = tf.cast(labels >= 0, z.dtype)
    return {"label_bits": labelled * label_bits, "label_error": labelled * error}
