"""How to train: a frozen dataclass, validated on construction."""

import dataclasses

from glow_tf.config import at_least, one_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything about a training run but the model and the data.

    Attributes:
      batch_size: images per step, over all replicas together.
      steps: number of updates.
      learning_rate: its constant value after the warm-up.
      optimizer: `adamax` or `adam`.
      warmup_steps: the learning rate rises linearly over so many steps.
      clip_norm: largest global norm of the gradient of the loss in bits; larger ones are scaled down. 0: never.
      ema_decay: of the moving average of the weights, which evaluation, samples and export use; 0: the weights as they
        are.
      label_loss_weight: factor on the classification loss, in bits, that is added to bits/dim.
      flip: whether training images are mirrored at random.
      shift: most pixels by which training images are moved at random.
      seed: of initial weights, data order, dequantization noise and samples.
      init_images: images in the batch that initialises actnorm; 0: one training batch.
      steps_per_call: most updates between two returns to Python; fewer where they take seconds.
      log_every, eval_every, sample_every, checkpoint_every: steps between two of each; 0: only at the end.
      eval_images: held-out images of the evaluations during training; the last one takes all.
      samples: images in the sample grid.
      temperature: of the sample grid.
      keep_checkpoints: how many of the newest checkpoints are kept.
    """

    batch_size: int = 64
    steps: int = 100_000
    learning_rate: float = 1e-3
    optimizer: str = "adamax"
    warmup_steps: int = 1000
    clip_norm: float = 0.0
    ema_decay: float = 0.999
    label_loss_weight: float = 0.0
    flip: bool = False
    shift: int = 0
    seed: int = 0
    init_images: int = 0
    steps_per_call: int = 10
    log_every: int = 50
    eval_every: int = 2000
    eval_images: int = 1000
    sample_every: int = 1000
    samples: int = 64
    temperature: float = 0.7
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3

    def __post_init__(self):
        for name in ("batch_size", "steps", "steps_per_call", "log_every", "samples", "keep_checkpoints"):
            at_least(name, getattr(self, name), 1)
        every = ("eval_every", "sample_every", "checkpoint_every")
        for name in ("shift", "warmup_steps", "init_images", "eval_images", "seed", *every):
            at_least(name, getattr(self, name), 0)
        one_of("optimizer", self.optimizer, ("adamax", "adam"))
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r} must be positive.")
        for name in ("clip_norm", "label_loss_weight", "temperature"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must not be negative.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay!r} must be at least 0 and less than 1.")
