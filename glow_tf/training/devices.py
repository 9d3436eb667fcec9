"""The devices a run uses."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.runtime import internals
from glow_tf.runtime.devices import has_gpu
from glow_tf.runtime.errors import first_line
from glow_tf.runtime.pipelines import untuned
from glow_tf.runtime.runtime import Runtime
from glow_tf.training import cluster as clusters
from glow_tf.training.config import TrainingConfig

__all__ = [
    "CLUSTERS",
    "STRATEGIES",
    "current_strategy",
    "distributed",
    "has_gpu",
    "make_strategy",
    "sharding_runtime",
    "strategy_flags",
    "training_runtime",
]

STRATEGIES = ("mirrored", "multi_worker", "tpu", "one_device")
CLUSTERS = ("slurm",)


def make_strategy(
    name: str = "mirrored",
    num_replicas: int | None = None,
    *,
    deterministic: bool = False,
    cluster: str | None = None,
    cluster_port: int | None = None,
) -> tf.distribute.Strategy:
    """Returns the strategy that distributes batches.

    Args:
      name: `mirrored`, all GPUs of this machine, or its CPU where there is none; `multi_worker`, those of all machines
        that TF_CONFIG or the `cluster` names; `tpu`, the TPU of this machine or the one that the environment
        variable TPU_NAME names; `one_device`, the first GPU, or the CPU.
      num_replicas: for `mirrored` and `multi_worker`, how many devices of this machine are used; by default all GPUs.
        Where there is no GPU, `mirrored` splits the CPU into so many.
      deterministic: whether GPUs are to give the same bits every time; it holds for the whole process.
      cluster: what names the machines of `multi_worker`: `slurm`, the job step this process is a task of; by default
        the environment variable TF_CONFIG.
      cluster_port: the first port that the tasks of `slurm` on a machine listen on, as for `clusters.of_slurm`.

    Raises:
      ValueError: if the devices are not there, or the machines are not named as they should be.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy={name!r} is not one of {', '.join(STRATEGIES)}.")
    if num_replicas is not None and name not in ("mirrored", "multi_worker"):
        raise ValueError(f"--num_replicas={num_replicas} does not apply to --strategy={name}.")
    if cluster is not None and name != "multi_worker":
        raise ValueError(f"--cluster={cluster} names several machines, for which --strategy={name} is not made.")
    if cluster_port is not None and cluster is None:
        raise ValueError(f"--cluster_port={cluster_port} is for --cluster=slurm; TF_CONFIG names ports by itself.")
    if deterministic:
        _make_deterministic()
    if name == "tpu":
        return _tpu()
    devices = _devices(num_replicas, splits_cpu=name == "mirrored")
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    if name == "mirrored":
        with _without_tf_config():
            return tf.distribute.MirroredStrategy(devices)
    if cluster == "slurm":
        found, named = clusters.of_slurm(cluster_port), "the SLURM job"
    else:
        found, named = clusters.of_tf_config(os.environ.get("TF_CONFIG")), "TF_CONFIG"
    gpus = [device for device in devices if device.startswith("GPU")]
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(found.resolver(len(gpus)))
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(f"The workers of {named} do not come together: {error}") from error


def current_strategy() -> tf.distribute.Strategy:
    """Returns the strategy of the scope this is called in, or else one of all GPUs of this machine, or of its CPU.

    Other than `make_strategy` it leaves the devices as they are, of which TensorFlow may have begun to use some.
    """
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy()
    devices = [device.name for device in tf.config.list_logical_devices("GPU")] or ["CPU:0"]
    with _without_tf_config():
        return tf.distribute.MirroredStrategy(devices)


def distributed(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> Iterator:
    """Returns an iterator over batches on the devices of a strategy, which is deleted at once: see `untuned`."""
    with internals.untuned_device_buffers():
        return iter(strategy.experimental_distribute_dataset(untuned(batches)))


def strategy_flags(strategy: tf.distribute.Strategy) -> dict[str, str | int]:
    """Returns the flags of `glow train` that make a strategy like this one, of those that are not the default."""
    kinds = {
        "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
        "tpu": tf.distribute.TPUStrategy,
        "one_device": tf.distribute.OneDeviceStrategy,
    }
    name = next((name for name, kind in kinds.items() if isinstance(strategy, kind)), "mirrored")
    if name != "mirrored":
        return {"strategy": name}
    # Of GPUs all are used, where the run goes on.
    return {} if has_gpu() or strategy.num_replicas_in_sync == 1 else {"num_replicas": strategy.num_replicas_in_sync}


def sharding_runtime(config: ModelConfig, images: int | None, *, xla: bool | None = None) -> Runtime:
    """Returns the runtime for batches of a model, in shards where that pays; see `Runtime.detect`.

    Args:
      config: the model. RealNVP is not sharded: on two cores its deep networks take twice as long in shards, while a
        small Flow++ and Jet take 0.6 times as long.
      images: number of images that are computed at once; None for no shards.
      xla: as for `Runtime.detect`.
    """
    images = None if config.name == "real_nvp" else images
    return Runtime.detect(images=images, width=config.network_width, xla=xla)


def training_runtime(training: TrainingConfig, runtime: Runtime | None = None) -> Runtime:
    """Returns the runtime of a training run, whose settings say whether XLA compiles it, and in which precision.

    Args:
      training: the settings.
      runtime: what else is known of it; by default the best device there is.
    """
    settings = {"xla": training.xla, "network_precision": training.network_precision}
    return dataclasses.replace(runtime or Runtime.detect(), **settings)


@contextlib.contextmanager
def _without_tf_config() -> Iterator[None]:
    """Hides TF_CONFIG: MirroredStrategy does not use it, and yet fails where it cannot be parsed."""
    text = os.environ.pop("TF_CONFIG", None)
    try:
        yield
    finally:
        if text is not None:
            os.environ["TF_CONFIG"] = text


def _devices(num_replicas: int | None, *, splits_cpu: bool) -> list[str]:
    """Returns the GPUs of this machine, or its CPU, split where more than one replica is asked for."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        if splits_cpu:
            return _split_cpu(num_replicas or 1)
        if num_replicas not in (None, 1):
            raise ValueError(f"--num_replicas={num_replicas}: this worker has no GPU, and uses its CPU as one replica.")
        return ["CPU:0"]
    if num_replicas is not None and num_replicas > len(gpus):
        raise ValueError(f"--num_replicas={num_replicas} is more than the {len(gpus)} GPUs of this machine.")
    used = gpus[: num_replicas or len(gpus)]
    # MultiWorkerMirroredStrategy takes all that are visible.
    tf.config.set_visible_devices(used, "GPU")
    for gpu in used:
        # Otherwise TensorFlow takes all of its memory, and nobody else can use it.
        tf.config.experimental.set_memory_growth(gpu, True)
    return [f"GPU:{i}" for i in range(len(used))]


def _make_deterministic() -> None:
    tf.config.experimental.enable_op_determinism()
    # XLA reads its flags when it first compiles. Without the choice of the fastest kernel by trial, too, which can be
    # another one in the next process.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()


def _split_cpu(count: int) -> list[str]:
    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or [None]) < count:
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        except RuntimeError as error:
            raise ValueError(f"The CPU cannot be split into {count} once TensorFlow has begun to work.") from error
    return [f"CPU:{i}" for i in range(count)]


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"--strategy=tpu finds no TPU ({first_line(error)}). On a TPU VM it needs the TPU build of "
            "TensorFlow; elsewhere the environment variable TPU_NAME. --strategy=mirrored uses GPUs or the CPU."
        ) from error
    return tf.distribute.TPUStrategy(resolver)
