"""Training settings: a frozen dataclass, validated on construction."""

import dataclasses
import math
from typing import Any

from glow_tf.arguments import at_least, one_of
from glow_tf.config import ModelConfig
from glow_tf.mode import NETWORK_PRECISIONS

OPTIMIZERS = ("adamax", "adam", "adamw")
LR_SCHEDULES = ("constant", "cosine", "linear")
TRACKERS = ("wandb", "mlflow")
# The default for AdamW, as in Keras.
_WEIGHT_DECAY = 0.004


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training run, except for the model and the data.

    Attributes:
      batch_size: images per step, over all replicas together.
      accumulate_steps: number of parts, computed one after the other, into which each replica splits its images.
      steps: number of updates.
      learning_rate: learning rate after the warm-up.
      lr_schedule: schedule after the warm-up: `constant`, or a `cosine` or `linear` decay to 0 at the last of `steps`.
        A run that is continued with other `steps` uses the learning rate of a run of that length.
      optimizer: `adamax`, `adam` or `adamw`.
      beta1, beta2: decay rates of the first and second moments of the gradient; in place of the root of the second,
        `adamax` has the decaying maximum of its magnitude.
      epsilon: added to that root or maximum, for gradients of the loss in bits/dim.
      weight_decay: decoupled weight decay of `adamw`: the fraction by which the kernels of coupling networks shrink at
        each step, times the learning rate; see `Network.decays`. 0 for the other optimizers.
      warmup_steps: number of steps over which the learning rate rises linearly.
      clip_norm: maximum norm of the gradient of the loss in bits/dim, over all weights and the whole batch; larger
        gradients are scaled down. 0 disables clipping.
      ema_decay: decay of the moving average of the weights, which is used for evaluation, samples and export; 0 uses
        the weights themselves.
      network_precision: precision of the coupling networks in training: `float32`, `tf32` or `bfloat16`; weights,
        flow, log-dets and likelihood stay in float32, and evaluation, samples and export use float32 throughout.
      xla: whether XLA compiles training, evaluation and samples.
      label_loss_weight: weight of the classification loss, in bits, that is added to bits/dim.
      labels_per_class: number of training images of each class whose labels that loss uses, chosen by the seed; the
        likelihood is still that of all images. 0 uses all labels.
      labelled_only: whether to train on these images only.
      flip: whether training images are mirrored at random.
      shift: maximum random shift of training images, in pixels.
      seed: seed of initial weights, data order, dequantization noise and samples.
      init_from: model directory that provides the initial weights of a new run; '' for none.
      init_images: number of images in the batch that initialises actnorms, or the final scale of NICE; 0 for as many
        as are computed at once.
      steps_per_call: maximum number of updates between two returns to Python; fewer if they take seconds.
      log_every, eval_every, sample_every, checkpoint_every: intervals in steps; 0, except for `log_every`, which must
        be at least 1: only at the end.
      checkpoint_minutes: interval in minutes after which a checkpoint is written as well; 0 to go by steps only.
      eval_images: number of held-out images for evaluations during training, evenly spaced where the data has random
        access; 0 for all. The last one uses all.
      early_stop: number of consecutive evaluations during training without improvement on the best one, after which
        the run ends as it would at the last step; 0 disables early stopping.
      samples: number of images in the sample grid.
      temperature: temperature of the sample grid.
      keep_checkpoints: number of newest checkpoints to keep.
      keep_every_hours: interval in hours at which a further checkpoint is kept permanently; 0 for none.
      tracker: additional trackers for metrics, settings and pictures: `wandb` or `mlflow`, or both separated by a
        comma; '' for none.
      max_skipped: number of consecutive steps with a non-finite loss or gradient after which the run rolls back to the
        last checkpoint, with half the learning rate.
      max_rollbacks: number of such rollbacks before the run gives up.
    """

    batch_size: int = 64
    accumulate_steps: int = 1
    steps: int = 100_000
    learning_rate: float = 1e-3
    lr_schedule: str = "constant"
    optimizer: str = "adamax"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    warmup_steps: int = 1000
    clip_norm: float = 0.0
    ema_decay: float = 0.999
    network_precision: str = "float32"
    xla: bool = False
    label_loss_weight: float = 0.0
    labels_per_class: int = 0
    labelled_only: bool = False
    flip: bool = False
    shift: int = 0
    seed: int = 0
    init_from: str = ""
    init_images: int = 0
    steps_per_call: int = 10
    log_every: int = 50
    eval_every: int = 2000
    eval_images: int = 1000
    early_stop: int = 0
    sample_every: int = 1000
    samples: int = 64
    temperature: float = 0.7
    checkpoint_every: int = 1000
    checkpoint_minutes: float = 15.0
    keep_checkpoints: int = 3
    keep_every_hours: float = 24.0
    tracker: str = ""
    max_skipped: int = 5
    max_rollbacks: int = 3

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if hasattr(value, "item"):
                # NumPy's numbers cannot be written to the record of the run.
                object.__setattr__(self, name, value.item())
        counts = ("batch_size", "accumulate_steps", "steps", "steps_per_call", "log_every", "samples")
        for name in (*counts, "keep_checkpoints", "max_skipped"):
            at_least(name, getattr(self, name), 1)
        every = ("eval_every", "sample_every", "checkpoint_every")
        counts_or_none = ("warmup_steps", "init_images", "eval_images", "early_stop", "max_rollbacks")
        for name in ("labels_per_class", "shift", *counts_or_none, *every):
            at_least(name, getattr(self, name), 0)
        # The largest that TensorFlow takes.
        at_least("seed", self.seed, 0, most=2**31 - 1)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("lr_schedule", self.lr_schedule, LR_SCHEDULES)
        one_of("network_precision", self.network_precision, NETWORK_PRECISIONS)
        tracker_names(self.tracker)
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name}={value!r} must be a finite number.")
        for name in ("learning_rate", "epsilon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be positive.")
        minutes = ("checkpoint_minutes", "keep_every_hours")
        for name in ("clip_norm", "weight_decay", "label_loss_weight", "temperature", *minutes):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must not be negative.")
        if self.batch_size % self.accumulate_steps:
            raise ValueError(
                f"batch_size={self.batch_size!r} must be a multiple of accumulate_steps={self.accumulate_steps!r}."
            )
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be at least 0 and less than 1.")
        self._check_optimizer()
        if self.labels_per_class and not self.label_loss_weight:
            raise ValueError(
                f"labels_per_class={self.labels_per_class!r} needs a label_loss_weight above 0: nothing else uses the "
                "labels."
            )
        if self.labelled_only and not self.labels_per_class:
            raise ValueError("labelled_only=True needs labels_per_class above 0, the number of images to train on.")
        if self.early_stop and not 0 < self.eval_every < self.steps:
            raise ValueError(
                f"early_stop={self.early_stop!r} goes by evaluations, of which there is none before the end with "
                f"eval_every={self.eval_every!r} and steps={self.steps!r}."
            )

    @property
    def images_at_once(self) -> int:
        """Number of images that all devices together compute at once: those of one part of a batch."""
        return self.batch_size // self.accumulate_steps

    def check_model(self, config: ModelConfig) -> None:
        """Checks that a model can be trained with these settings.

        Raises:
          ValueError: if labels are used in ways that exclude each other.
        """
        if self.labels_per_class and (config.conditional or not config.classifier):
            raise ValueError(
                f"--labels_per_class={self.labels_per_class} is for models that guess labels and are not given them: "
                "use it with --label_loss_weight, without --conditional and --conditional_couplings."
            )
        if self.label_loss_weight and config.classifier_is_given_labels:
            raise ValueError(
                f"--label_loss_weight={self.label_loss_weight} trains a classifier, and labels that condition more "
                "than the top prior would give it the labels that it is to find: leave out this flag or "
                "--conditional_couplings. --conditional does not give them."
            )

    def _check_optimizer(self) -> None:
        if self.optimizer == "adamw" and not self.weight_decay:
            raise ValueError("optimizer='adamw' needs a weight_decay above 0: without one it is 'adam'.")
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay={self.weight_decay!r} does not apply to optimizer={self.optimizer!r}, but to 'adamw'."
            )
        if self.lr_schedule != "constant" and self.steps <= self.warmup_steps:
            raise ValueError(
                f"lr_schedule={self.lr_schedule!r} begins after warmup_steps={self.warmup_steps!r}, which must be less "
                f"than steps={self.steps!r}."
            )


def tracker_names(trackers: str) -> list[str]:
    """Returns the names in `TrainingConfig.tracker`.

    Raises:
      ValueError: if one is unknown.
    """
    names = [name.strip() for name in trackers.split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"tracker={trackers!r} has {name!r}, which is not one of {', '.join(TRACKERS)}.")
    return list(dict.fromkeys(names))


def defaults_for(
    image_shape: tuple[int, int, int],
    *,
    batch_size: int | None = None,
    accumulate_steps: int = 1,
    optimizer: str = "adamax",
    replicas: int = 1,
) -> dict[str, Any]:
    """Returns the settings whose defaults depend on the images, the devices and the optimizer.

    Args:
      image_shape: (H, W, C) of the images.
      batch_size: batch size of the run, if given.
      accumulate_steps, optimizer: as in `TrainingConfig`.
      replicas: number of devices that share a batch.
    """
    pixels = image_shape[0] * image_shape[1]
    parts = replicas * max(1, accumulate_steps)
    batch_size = batch_size or max(1, min(256, 64 * 32 * 32 // pixels) // parts) * parts
    return {
        "batch_size": batch_size,
        # As in the official code. Actnorm would normalise a single image so well that the next one is an outlier.
        "init_images": max(batch_size // max(1, accumulate_steps), min(256, 256 * 32 * 32 // pixels)),
        "samples": 64 if pixels <= 64 * 64 else 16,
        "weight_decay": _WEIGHT_DECAY if optimizer == "adamw" else 0.0,
    }
