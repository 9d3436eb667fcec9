"""Clusters of machines that train together, as described by SLURM and the Kubeflow training operator."""

import json
import pathlib

import pytest

from glow_tf.training.cluster import Cluster, of_slurm, of_tf_config
from glow_tf.training.devices import make_strategy

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.fixture
def slurm(monkeypatch):
    """Sets the environment variables of a task in a job step."""
    for name in ("PROCID", "STEP_NUM_TASKS", "STEP_NODELIST", "STEP_TASKS_PER_NODE", "JOB_ID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)

    def set_variables(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    return set_variables


@pytest.mark.parametrize(
    ("nodes", "tasks", "expected"),
    [
        ("gpu[1-2]", "1(x2)", ["gpu1:9000", "gpu2:9000"]),
        # In the order of the job, in which SLURM numbers the tasks, not sorted by name.
        ("n[2,10]", "1(x2)", ["n2:9000", "n10:9000"]),
        ("gpu4,cpu1", "1(x2)", ["gpu4:9000", "cpu1:9000"]),
        ("a[08-09]", "2,1", ["a08:9000", "a08:9001", "a09:9000"]),
        ("127.0.0.1", "2", ["127.0.0.1:9000", "127.0.0.1:9001"]),
    ],
)
def test_the_tasks_of_a_job_step(slurm, nodes, tasks, expected):
    last = len(expected) - 1
    slurm(PROCID=last, STEP_NUM_TASKS=len(expected), STEP_NODELIST=nodes, STEP_TASKS_PER_NODE=tasks, JOB_ID=7)
    assert of_slurm(9000) == Cluster({"worker": expected}, "worker", last)


def test_jobs_on_one_machine_have_other_ports(slurm):
    ports = []
    for job in (1234, 1235):
        slurm(PROCID=0, STEP_NUM_TASKS=1, STEP_NODELIST="a", STEP_TASKS_PER_NODE="1", JOB_ID=job)
        ports.append(int(of_slurm().addresses["worker"][0].rpartition(":")[2]))
    assert all(1024 < port < 32768 for port in ports) and abs(ports[0] - ports[1]) >= 16


def test_there_is_one_clear_line_outside_of_a_job_step(slurm):
    with pytest.raises(ValueError, match="--cluster=slurm needs .*SLURM_PROCID not found.*srun") as error:
        make_strategy("multi_worker", cluster="slurm")
    assert "\n" not in str(error.value)
    # As in the script of a batch job, outside of srun.
    slurm(PROCID=0, JOB_ID=7)
    with pytest.raises(ValueError, match="SLURM_STEP_NUM_TASKS not found"):
        of_slurm()
    slurm(STEP_NUM_TASKS=2, STEP_NODELIST="a[", STEP_TASKS_PER_NODE="1(x2)")
    with pytest.raises(ValueError, match="--cluster=slurm needs"):
        of_slurm()


def test_a_cluster_is_of_several_machines():
    with pytest.raises(ValueError, match="--cluster=slurm names several machines, for which --strategy=mirrored"):
        make_strategy("mirrored", cluster="slurm")
    with pytest.raises(ValueError, match="--cluster_port=9000 is for --cluster=slurm"):
        make_strategy("multi_worker", cluster_port=9000)


def operator_config(kind, index, **replicas):
    """Returns TF_CONFIG as the Kubeflow training operator writes it for a TFJob named `glow` in the namespace `ml`."""
    cluster = {name: [f"glow-{name}-{i}.ml.svc:2222" for i in range(count)] for name, count in replicas.items()}
    cluster.pop("evaluator", None)
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"})


def test_what_the_operator_writes():
    two = ["glow-worker-0.ml.svc:2222", "glow-worker-1.ml.svc:2222"]
    assert of_tf_config(operator_config("worker", 1, worker=2)) == Cluster({"worker": two}, "worker", 1)
    chief = {"chief": ["glow-chief-0.ml.svc:2222"], "worker": two}
    assert of_tf_config(operator_config("chief", 0, chief=1, worker=2)) == Cluster(chief, "chief", 0)
    # The old name of a chief.
    master = {"chief": ["glow-master-0.ml.svc:2222"], "worker": two}
    assert of_tf_config(operator_config("master", 0, master=1, worker=2)) == Cluster(master, "chief", 0)
    assert of_tf_config(operator_config("worker", 0, master=1, worker=2)) == Cluster(master, "worker", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (operator_config("evaluator", 0, worker=2, evaluator=1), "leave Evaluator out"),
        (operator_config("worker", 0, worker=2, ps=1), "leave PS out"),
        (operator_config("ps", 0, worker=2, ps=1), "leave PS out"),
        (
            json.dumps({"sparseCluster": {"worker": {"0": "a:1"}, "ps": []}, "task": {"type": "worker", "index": 0}}),
            "leave enableDynamicWorker out",
        ),
    ],
)
def test_other_kinds_of_training_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        of_tf_config(text)
