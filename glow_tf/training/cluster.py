"""The processes that train together, and the place of this one among them, from TF_CONFIG or SLURM."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence

import tensorflow as tf

_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
# Below the ports that Linux assigns to outgoing connections, with room for 16 tasks per machine.
_FIRST_PORT, _JOBS, _PORTS_OF_A_JOB = 12_000, 1000, 16
# Task types that the Kubeflow training operator may start, but that take no part in training.
_NO_WORKERS = {
    "evaluator": "the chief evaluates during training: leave Evaluator out of the TFJob",
    "ps": "there are no parameter servers in this kind of training: leave PS out of the TFJob",
}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Attributes:
      addresses: host:port of each process, keyed by task type (`worker` or `chief`) and ordered by task index.
      task_type: type of this process.
      task_index: index of this process among those of its type.
    """

    addresses: Mapping[str, Sequence[str]]
    task_type: str
    task_index: int

    def resolver(self, gpus: int) -> tf.distribute.cluster_resolver.ClusterResolver:
        """Returns the cluster resolver for TensorFlow; `gpus` is the number of GPUs of each process."""
        return tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({kind: list(found) for kind, found in self.addresses.items()}),
            task_type=self.task_type,
            task_id=self.task_index,
            num_accelerators={"GPU": gpus},
            rpc_layer="grpc",
        )


def of_tf_config(text: str | None) -> Cluster:
    """Returns the cluster described by TF_CONFIG, as written by a user or the Kubeflow training operator.

    Raises:
      ValueError: if it does not name the workers and the index of this one; the message shows a valid example.
    """
    try:
        config = json.loads(text or "{}")
        _check_kinds(config)
        task = config["task"]
        addresses, index = config["cluster"][task["type"]], int(task["index"])
        range(len(addresses)).index(index)
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise ValueError("addresses must be a list of texts")
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError) as error:
        state = "is not set" if not text else f"is {text[:200]!r}, which does not name this worker ({error!r})"
        raise ValueError(
            f"--strategy=multi_worker needs the environment variable TF_CONFIG, the same on every machine but for the "
            f"index; it {state}. On the first of two machines: TF_CONFIG='{_EXAMPLE}'"
        ) from error
    # `master` is another name for the chief, unknown to TensorFlow 2.
    named = {"chief" if kind == "master" else kind: found for kind, found in config["cluster"].items()}
    return Cluster(named, "chief" if task["type"] == "master" else task["type"], index)


def _check_kinds(config: dict) -> None:
    if "sparseCluster" in config:
        raise ValueError("the number of workers is fixed in training: leave enableDynamicWorker out of the TFJob")
    for kind, reason in _NO_WORKERS.items():
        if config["task"]["type"] == kind or (kind in config["cluster"] and config["cluster"][kind]):
            raise ValueError(f"it has {kind}, but {reason}")


def of_slurm(port: int | None = None) -> Cluster:
    """Returns the cluster of this process's SLURM job step, in which every task is a worker.

    Each task listens on the first port of its machine plus its index among the tasks there.

    Args:
      port: first port of each machine; by default derived from the job ID.

    Raises:
      ValueError: if the environment does not describe a job step.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if port is None:
        port = _FIRST_PORT + _PORTS_OF_A_JOB * (int(job) % _JOBS if job.isdigit() else 0)
    try:
        resolver = _Slurm(
            port_base=port,
            # SLURM itself decides which GPUs a task sees; these values only satisfy the resolver, with or without GPUs.
            gpus_per_node=2**16,
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        addresses = resolver.addresses()
        return Cluster({"worker": addresses}, "worker", range(len(addresses)).index(int(os.environ["SLURM_PROCID"])))
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            f"--cluster=slurm needs the environment that srun sets for each task of a job step: {error} Start it by "
            "srun within sbatch or salloc: srun --ntasks-per-node=1 glow train --cluster=slurm ..."
        ) from error


class _Slurm(tf.distribute.cluster_resolver.SlurmClusterResolver):
    """A resolver with the addresses in task order; TensorFlow's sorts the machines by name, n10 before n2."""

    def addresses(self) -> list[str]:
        """Returns host:port of each task."""
        tasks = self._task_configuration.items()
        return [f"{host}:{self._port_base + i}" for host, count in tasks for i in range(count)]
