"""The training objective."""

import math

import tensorflow as tf

from glow_tf.models.flow import Flow


def losses(
    flow: Flow,
    x: tf.Tensor,
    labels: tf.Tensor | None,
    label_loss_weight: float,
    *,
    network_precision: str = "float32",
    training: bool = False,
    seed: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """The objective of the official code and its parts, for each image.

    Args:
      flow: the model.
      x: [B, H, W, C], preprocessed and dequantized.
      labels: [B] int32, or None.
      label_loss_weight: factor on the classification loss; not 0 needs a model with a classifier.
      network_precision, training, seed: as for `Flow.distribution`.

    Returns:
      `loss` = bits_per_dim + label_loss_weight * label_bits, `bits_per_dim`, and with a classifier `label_bits` (its
      cross-entropy in bits) and `label_error` (1 where its guess is wrong); each [B].
    """
    distribution = flow.distribution(
        labels if flow.config.conditional else None,
        network_precision=network_precision,
        training=training,
        seed=seed,
    )
    z, log_prob = distribution.latents_and_log_prob(x)
    bits = flow.bits_per_dim_of(log_prob)
    if not flow.config.classifier:
        return {"loss": bits, "bits_per_dim": bits}
    parts = label_losses(flow, z, labels)
    return {"loss": bits + label_loss_weight * parts["label_bits"], "bits_per_dim": bits, **parts}


def label_losses(flow: Flow, z: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
    """`label_bits` and `label_error`, [B] each, of the classifier on the latents `z`: [B, D]."""
    logits = flow.class_logits(z, labels)
    label_bits = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits) / math.log(2)
    error = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) != labels, z.dtype)
    return {"label_bits": label_bits, "label_error": error}
