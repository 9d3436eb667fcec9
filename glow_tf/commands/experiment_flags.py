"""Data and training settings of an experiment, as specified by flags."""

from typing import Any

from absl import flags

from glow_tf.data import Source, load_source, recipe
from glow_tf.runtime.devices import has_gpu
from glow_tf.training.config import TrainingConfig

FLAGS = flags.FLAGS

NAMES = (
    "dataset",
    "max_megapixels",
    "K",
    "L",
    "seeds",
    "data_dir",
    "test_fraction",
    "test_size",
    "image_size",
    "upscale",
    "n_bits",
    "steps",
    "train_batch_size",
    "flip",
    "shift",
    "learning_rate",
    "warmup_steps",
    "clip_norm",
    "eval_every",
    "output",
)


def load_data() -> Source:
    """Loads the data set of an experiment, which has no model yet."""
    return load_source(
        FLAGS.dataset or "people",
        data_dir=FLAGS.data_dir,
        image_size=FLAGS.image_size,
        test_fraction=FLAGS.test_fraction,
        test_size=FLAGS.test_size,
        upscale=FLAGS.upscale,
    )


def training(
    source: Source, seed: int, *, steps: int | None = None, eval_every: int | None = None, **other: Any
) -> TrainingConfig:
    """Returns the settings of a training run, with the usual augmentation of the data unless flags say otherwise.

    As for `glow train`, XLA compiles it where there is a GPU.

    Args:
      source: the data.
      seed: the seed of the run.
      steps, eval_every: override the flags of the same names.
      **other: further fields of `TrainingConfig`.
    """
    usual = recipe(source.name)
    eval_every = FLAGS.eval_every if eval_every is None else eval_every
    steps = FLAGS.steps if steps is None else steps
    return TrainingConfig(
        batch_size=FLAGS.train_batch_size,
        steps=steps,
        optimizer="adam",
        learning_rate=FLAGS.learning_rate,
        warmup_steps=FLAGS.warmup_steps,
        clip_norm=FLAGS.clip_norm,
        xla=has_gpu(),
        flip=usual.flip if FLAGS.flip is None else FLAGS.flip,
        shift=usual.shift if FLAGS.shift is None else FLAGS.shift,
        seed=seed,
        init_images=max(FLAGS.train_batch_size, 64),
        log_every=min(50, steps),
        eval_every=eval_every,
        eval_images=0,
        sample_every=0,
        samples=16,
        checkpoint_every=eval_every,
        keep_checkpoints=1,
        keep_every_hours=0.0,
        **other,
    )
