"""Settings of training: a frozen dataclass, validated on construction."""

import dataclasses

from glow_tf.arguments import at_least, one_of
from glow_tf.mode import NETWORK_PRECISIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything about a training run but the model and the data.

    Attributes:
      batch_size: images per step, over all replicas together.
      accumulate_steps: parts in which each replica computes the gradient of its images, one after the other.
      steps: number of updates.
      learning_rate: its constant value after the warm-up.
      optimizer: `adamax` or `adam`.
      warmup_steps: the learning rate rises linearly over so many steps.
      clip_norm: largest global norm of the gradient of the loss in bits; larger ones are scaled down. 0: never.
      ema_decay: of the moving average of the weights, which evaluation, samples and export use; 0: the weights as they
        are.
      network_precision: in which the coupling networks compute in training: `float32`, `tf32` or `bfloat16`; weights,
        flow, log-dets and likelihood stay in float32, and evaluation, samples and export are all float32.
      xla: whether XLA compiles the steps.
      label_loss_weight: factor on the classification loss, in bits, that is added to bits/dim.
      flip: whether training images are mirrored at random.
      shift: most pixels by which training images are moved at random.
      seed: of initial weights, data order, dequantization noise and samples.
      init_from: a model directory with whose weights a new run begins, in place of initial ones; '' for none.
      init_images: images in the batch that initialises actnorm; 0: one training batch.
      steps_per_call: most updates between two returns to Python; fewer where they take seconds.
      log_every, eval_every, sample_every, checkpoint_every: steps between two of each; 0: only at the end.
      checkpoint_minutes: a checkpoint is written after so many minutes too; 0: after steps only.
      eval_images: held-out images of the evaluations during training; the last one takes all.
      samples: images in the sample grid.
      temperature: of the sample grid.
      keep_checkpoints: how many of the newest checkpoints are kept.
      keep_every_hours: one checkpoint of every so many hours is kept besides; 0: none.
      max_skipped: steps in a row with a loss or gradient that is not finite, after which the run goes back to the last
        checkpoint, with half the learning rate.
      max_rollbacks: how often it does so before it gives up.
    """

    batch_size: int = 64
    accumulate_steps: int = 1
    steps: int = 100_000
    learning_rate: float = 1e-3
    optimizer: str = "adamax"
    warmup_steps: int = 1000
    clip_norm: float = 0.0
    ema_decay: float = 0.999
    network_precision: str = "float32"
    xla: bool = False
    label_loss_weight: float = 0.0
    flip: bool = False
    shift: int = 0
    seed: int = 0
    init_from: str = ""
    init_images: int = 0
    steps_per_call: int = 10
    log_every: int = 50
    eval_every: int = 2000
    eval_images: int = 1000
    sample_every: int = 1000
    samples: int = 64
    temperature: float = 0.7
    checkpoint_every: int = 1000
    checkpoint_minutes: float = 15.0
    keep_checkpoints: int = 3
    keep_every_hours: float = 24.0
    max_skipped: int = 5
    max_rollbacks: int = 3

    def __post_init__(self):
        counts = ("batch_size", "accumulate_steps", "steps", "steps_per_call", "log_every", "samples")
        for name in (*counts, "keep_checkpoints", "max_skipped"):
            at_least(name, getattr(self, name), 1)
        every = ("eval_every", "sample_every", "checkpoint_every")
        for name in ("shift", "warmup_steps", "init_images", "eval_images", "seed", "max_rollbacks", *every):
            at_least(name, getattr(self, name), 0)
        one_of("optimizer", self.optimizer, ("adamax", "adam"))
        one_of("network_precision", self.network_precision, NETWORK_PRECISIONS)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r} must be positive.")
        for name in ("clip_norm", "label_loss_weight", "temperature", "checkpoint_minutes", "keep_every_hours"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must not be negative.")
        if self.batch_size % self.accumulate_steps:
            raise ValueError(
                f"batch_size={self.batch_size!r} must be a multiple of accumulate_steps={self.accumulate_steps!r}."
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay!r} must be at least 0 and less than 1.")
