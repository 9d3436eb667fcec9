"""Time and memory of a training step."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models.flow import Flow
from glow_tf.runtime.devices import has_gpu
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.batches import dequantized
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import distributed, training_runtime
from glow_tf.training.state import TrainingState
from glow_tf.training.step import make_train_function


@dataclasses.dataclass(frozen=True)
class StepTiming:
    """Time and memory of a training step.

    Attributes:
      build: seconds to create variables and optimizer.
      first_step: seconds for the first step, including tracing and compilation.
      step: median seconds of later steps.
      first_peak: peak bytes allocated by TensorFlow until the end of the first step, in which XLA autotunes; None if
        TensorFlow does not report it.
      peak: peak bytes allocated in later steps; None likewise.
      weights: bytes of the trainable variables.
    """

    build: float
    first_step: float
    step: float
    first_peak: int | None
    peak: int | None
    weights: int

    @property
    def peak_excluding_weights(self) -> int | None:
        """Bytes of `peak` less the weights, Adamax's two slots and the moving average, four times the weights in all.

        The rest consists of gradients and activations.
        """
        return None if self.peak is None else self.peak - 4 * self.weights


def time_steps(
    config: ModelConfig,
    training: TrainingConfig,
    strategy: tf.distribute.Strategy,
    *,
    runtime: Runtime | None = None,
    steps: int = 3,
    limit_s: float = float("inf"),
) -> StepTiming:
    """Times a few training steps of a new model on noise, and discards the model.

    Args:
      config: the model.
      training: the training settings.
      strategy: the distribution strategy.
      runtime: device and sharding settings, as for `Trainer`.
      steps: number of steps to time after the first.
      limit_s: seconds of timed steps after which no further one is timed.
    """
    start = time.monotonic()
    flow, step = training_step(config, training, strategy, runtime=runtime)
    built = time.monotonic()

    def seconds() -> float:
        start = time.monotonic()
        step()
        return time.monotonic() - start

    first = seconds()
    device = strategy.extended.worker_devices[0]
    first_peak = peak_memory(device)
    later = [seconds()]
    while len(later) < steps and sum(later) < limit_s:
        later.append(seconds())
    return StepTiming(
        build=built - start,
        first_step=first,
        step=float(np.median(later)),
        first_peak=first_peak,
        peak=peak_memory(device),
        weights=sum(v.shape.num_elements() * v.dtype.size for v in flow.trainable_variables),
    )


def training_step(
    config: ModelConfig,
    training: TrainingConfig,
    strategy: tf.distribute.Strategy,
    *,
    runtime: Runtime | None = None,
    resident: bool | None = None,
) -> tuple[Flow, Callable[[], None]]:
    """Returns a new model, and a function that makes one update of it on a batch of noise and blocks until it is done.

    Args:
      config: the model.
      training: the training settings.
      strategy: the distribution strategy.
      runtime: device and sharding settings, as for `Trainer`.
      resident: whether one batch, dequantized once, stays on the devices; otherwise an input pipeline on the CPU
        dequantizes one for each step. True by default on GPUs, where the pipeline runs in parallel with the step; on a
        CPU it takes cores away from the step, which is part of the cost of a step.
    """
    state = TrainingState.create(config, training, strategy, training_runtime(training, runtime))
    train = make_train_function(state.flow, state.optimizer, strategy, training)
    rng = np.random.default_rng(0)
    noise = {
        "images": rng.integers(0, 256, [training.batch_size, *config.image_shape], np.uint8),
        "labels": np.zeros([training.batch_size], np.int32),
    }
    batches = dequantized(tf.data.Dataset.from_tensors(noise).repeat(), config, seed=0)
    if has_gpu() if resident is None else resident:
        iterator = _SameBatch(next(iter(batches)), strategy)
    else:
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        iterator = distributed(strategy, batches.with_options(options))

    def step() -> None:
        # Copying the value to the host waits until the device has computed it.
        train(iterator, tf.constant(1))["loss"].numpy()

    return state.flow, step


def peak_memory(device: str) -> int | None:
    """Returns the peak memory allocated by TensorFlow on a device since the previous call.

    Right after another call, it is the memory in use.

    Args:
      device: name of the device, short ("GPU:0") or full.

    Returns:
      Bytes, or None if TensorFlow does not report them. On a CPU, this requires oneDNN, and only blocks of at least
      256 KB count.
    """
    name = ":".join(device.split(":")[-2:])
    try:
        peak = tf.config.experimental.get_memory_info(name)["peak"]
        tf.config.experimental.reset_memory_stats(name)
    except ValueError:
        return None
    return peak


class _SameBatch(Iterator):
    """Repeats one batch, with each replica's part on its own device."""

    def __init__(self, batch: dict[str, tf.Tensor], strategy: tf.distribute.Strategy):
        devices = strategy.extended.worker_devices

        def part(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
            i, count = context.replica_id_in_sync_group, context.num_replicas_in_sync
            with tf.device(devices[i]):
                return {name: tf.identity(tf.split(value, count)[i]) for name, value in batch.items()}

        self._batch = strategy.experimental_distribute_values_from_function(part)

    def __next__(self) -> dict[str, tf.Tensor]:
        return self._batch
