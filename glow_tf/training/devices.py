"""Devices of a run."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import tensorflow as tf

from glow_tf.arguments import one_of
from glow_tf.config import ModelConfig
from glow_tf.runtime import internals
from glow_tf.runtime.devices import has_gpu
from glow_tf.runtime.errors import first_line
from glow_tf.runtime.pipelines import untuned
from glow_tf.runtime.runtime import Runtime
from glow_tf.training import cluster as clusters
from glow_tf.training.config import TrainingConfig

STRATEGIES = ("mirrored", "multi_worker", "tpu", "one_device")
CLUSTERS = ("slurm",)


def check_strategy(
    name: str, num_replicas: int | None = None, *, cluster: str | None = None, cluster_port: int | None = None
) -> None:
    """Checks that arguments of `make_strategy` fit together, without using any device.

    Raises:
      ValueError: if they do not.
    """
    one_of("strategy", name, STRATEGIES)
    if num_replicas is not None and name not in ("mirrored", "multi_worker"):
        raise ValueError(f"--num_replicas={num_replicas} does not apply to --strategy={name}.")
    if cluster is not None and name != "multi_worker":
        raise ValueError(f"--cluster={cluster} names several machines, for which --strategy={name} is not made.")
    if cluster_port is not None and cluster is None:
        raise ValueError(f"--cluster_port={cluster_port} is for --cluster=slurm; TF_CONFIG names ports by itself.")


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
      name: `mirrored` for all GPUs of this machine, or its CPU if there is none; `multi_worker` for those of all
        machines named by TF_CONFIG or `cluster`; `tpu` for the TPU of this machine, or the one named by the environment
        variable TPU_NAME; `one_device` for the first GPU, or the CPU.
      num_replicas: number of devices of this machine to use with `mirrored` and `multi_worker`; by default all GPUs.
        Without a GPU, `mirrored` splits the CPU into this many devices.
      deterministic: whether GPU results must be bitwise reproducible; applies to the whole process.
      cluster: source of the machines of `multi_worker`: `slurm` for the job step of this process; by default the
        environment variable TF_CONFIG.
      cluster_port: first port that the tasks of `slurm` on a machine listen on, as for `cluster.of_slurm`.

    Raises:
      ValueError: if the arguments do not fit together, devices are missing, or the machines are not named correctly.
    """
    check_strategy(name, num_replicas, cluster=cluster, cluster_port=cluster_port)
    if deterministic:
        _make_deterministic()
    if name == "tpu":
        return _tpu()
    devices = _devices(1 if name == "one_device" else num_replicas, splits_cpu=name == "mirrored")
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
    """Returns the strategy of the current scope, or else one over all GPUs of this machine, or its CPU.

    Unlike `make_strategy`, it does not configure the devices, as TensorFlow may already be using them.
    """
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy()
    devices = [device.name for device in tf.config.list_logical_devices("GPU")] or ["CPU:0"]
    with _without_tf_config():
        return tf.distribute.MirroredStrategy(devices)


def distributed(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> Iterator:
    """Returns an iterator over batches on the devices of a strategy, whose deletion does not block: see `untuned`."""
    with internals.untuned_device_buffers():
        return iter(strategy.experimental_distribute_dataset(untuned(batches)))


# The flags of `glow train` that choose devices.
STRATEGY_FLAGS = ("strategy", "num_replicas", "cluster", "cluster_port")


def strategy_flags(strategy: tf.distribute.Strategy) -> dict[str, str | int]:
    """Returns the non-default flags of `glow train` that create a strategy like this one."""
    kinds = {
        "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
        "tpu": tf.distribute.TPUStrategy,
        "one_device": tf.distribute.OneDeviceStrategy,
    }
    name = next((name for name, kind in kinds.items() if isinstance(strategy, kind)), "mirrored")
    if name != "mirrored":
        return {"strategy": name}
    # With GPUs, a run that is continued uses all of them.
    return {} if has_gpu() or strategy.num_replicas_in_sync == 1 else {"num_replicas": strategy.num_replicas_in_sync}


def sharding_runtime(config: ModelConfig, images: int | None, *, xla: bool | None = None) -> Runtime:
    """Returns the runtime for batches of a model, sharded where that is faster; see `Runtime.detect`.

    Args:
      config: the model. RealNVP is not sharded: on two cores its deep networks take twice as long in shards, while a
        small Flow++ and a small Jet take 0.6 times as long.
      images: number of images that are computed at once; None for no shards.
      xla: as for `Runtime.detect`.
    """
    images = None if config.name == "real_nvp" else images
    return Runtime.detect(images=images, width=config.hidden_channels, xla=xla)


def training_runtime(training: TrainingConfig, runtime: Runtime | None = None) -> Runtime:
    """Returns the runtime of a training run, with XLA and the network precision as in its settings.

    Args:
      training: the settings.
      runtime: all other runtime settings; by default those of the best available device.
    """
    settings = {"xla": training.xla, "network_precision": training.network_precision}
    return dataclasses.replace(runtime or Runtime.detect(), **settings)


@contextlib.contextmanager
def _without_tf_config() -> Iterator[None]:
    """Hides TF_CONFIG, which MirroredStrategy does not use, but fails on if it cannot be parsed."""
    text = os.environ.pop("TF_CONFIG", None)
    try:
        yield
    finally:
        if text is not None:
            os.environ["TF_CONFIG"] = text


def _devices(num_replicas: int | None, *, splits_cpu: bool) -> list[str]:
    """Returns the GPUs of this machine, or its CPU, split if more than one replica is requested."""
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
    try:
        # MultiWorkerMirroredStrategy uses all visible GPUs.
        tf.config.set_visible_devices(used, "GPU")
        for gpu in used:
            # Otherwise TensorFlow reserves all of its memory, and other processes cannot use it.
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        raise ValueError(
            f"The GPUs cannot be configured once TensorFlow has begun to work ({first_line(error)}). Make the strategy "
            "before anything is computed."
        ) from error
    return [f"GPU:{i}" for i in range(len(used))]


def _make_deterministic() -> None:
    tf.config.experimental.enable_op_determinism()
    # XLA reads its flags when it first compiles. This one also disables autotuning, which may select another kernel in
    # the next process.
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
    # Otherwise TPUs multiply float32 in bfloat16.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return tf.distribute.TPUStrategy(resolver)
