"""How long a training step takes and how much memory, measured."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models.flow import Flow
from glow_tf.training.batches import dequantized
from glow_tf.training.config import TrainingConfig
from glow_tf.training.optimizer import make_optimizer
from glow_tf.training.step import make_train_function


@dataclasses.dataclass(frozen=True)
class StepTiming:
    """What it takes to train a model.

    Attributes:
      build: seconds to make variables and optimizer.
      first_step: seconds of the first step, tracing included.
      step: seconds of a later one, the median.
      peak: the most bytes that TensorFlow's allocator had handed out in the first step; None where it does not tell.
      weights: bytes of the trainable variables.
    """

    build: float
    first_step: float
    step: float
    peak: int | None
    weights: int


def time_steps(
    config: ModelConfig, training: TrainingConfig, strategy: tf.distribute.Strategy, *, steps: int = 3
) -> StepTiming:
    """Trains a new model on noise for a few steps, and forgets it.

    Args:
      config: the model.
      training: how to train it.
      strategy: the devices.
      steps: number of steps that are timed after the first.
    """
    begun = time.monotonic()
    flow, step = training_step(config, training, strategy)
    built = time.monotonic()

    def seconds() -> float:
        begun = time.monotonic()
        step()
        return time.monotonic() - begun

    first = seconds()
    peak = _peak(strategy.extended.worker_devices[0])
    weights = sum(v.shape.num_elements() * v.dtype.size for v in flow.trainable_variables)
    return StepTiming(built - begun, first, float(np.median([seconds() for _ in range(steps)])), peak, weights)


def training_step(
    config: ModelConfig, training: TrainingConfig, strategy: tf.distribute.Strategy
) -> tuple[Flow, Callable[[], None]]:
    """A new model, and a function that makes one update of it on a batch of noise, and returns when it is made."""
    with strategy.scope():
        flow = Flow(config)
        optimizer = make_optimizer(training, list(flow.named_variables(trainable=True).values()))
    train = make_train_function(flow, optimizer, strategy, training)
    rng = np.random.default_rng(0)
    noise = {
        "images": rng.integers(0, 256, [training.batch_size, *config.image_shape], np.uint8),
        "labels": np.zeros([training.batch_size], np.int32),
    }
    batches = dequantized(tf.data.Dataset.from_tensors(noise).repeat(), config.n_bits, seed=0)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    iterator = iter(strategy.experimental_distribute_dataset(batches.with_options(options)))

    def step() -> None:
        train(iterator, tf.constant(1))["loss"].numpy()

    return flow, step


def _peak(device: str) -> int | None:
    try:
        return tf.config.experimental.get_memory_info(":".join(device.split(":")[-2:]))["peak"]
    except ValueError:
        return None
