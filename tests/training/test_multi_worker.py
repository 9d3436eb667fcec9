"""Two processes on loopback, named by TF_CONFIG or SLURM, train one model; one dies, and both start again."""

import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
SMALL = [
    *("--image_size=8", "--K=2", "--L=2", "--width=8", "--batch_size=8", "--samples=4", "--flip", "--shift=1"),
    *("--warmup_steps=2", "--log_every=1", "--eval_every=0", "--sample_every=0", "--checkpoint_every=10"),
    "--noexport",
]
SECONDS = 300


def start(directory, *arguments, tf_config=None):
    """Starts the training program in a new process, whose output goes to a file beside `directory`."""
    environment = {} if tf_config is None else {"TF_CONFIG": json.dumps(tf_config)}
    command = [sys.executable, "-m", "glow_tf.main", *SMALL, f"--model_dir={directory}", *arguments]
    return start_command(command, directory, environment)


def start_command(command, directory, environment):
    """Starts a process with additional environment variables, whose output goes to a file beside `directory`."""
    fixed = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment = {**os.environ, **fixed, **environment}
    log = directory.with_name(f"{directory.name}_{time.monotonic_ns()}.log")
    with log.open("w") as stream:
        options = {"stdout": stream, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command, env=environment, **options)
    process.log = log
    return process


def free_ports(count):
    """Returns ports below those that systems hand out, so that no other program is given one before its worker."""
    ports = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 1000):
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError("Of a thousand ports, nearly all are in use.")


def start_both(directory, *arguments, own=((), ())):
    """Starts two workers; `own` has the arguments that each has of its own."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    configs = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in (0, 1)]
    return [
        start(directory, "--strategy=multi_worker", *arguments, *of_this, tf_config=config)
        for of_this, config in zip(own, configs, strict=True)
    ]


def wait_until(condition, processes):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert all(process.poll() is None for process in processes), logs(processes)
        assert time.monotonic() < deadline, logs(processes)
        time.sleep(0.05)


def logs(processes):
    return "\n\n".join(process.log.read_text()[-3000:] for process in processes)


def train_lines(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["bits_per_dim"] for line in lines if line["kind"] == "train"}


@pytest.fixture
def kill_at_the_end():
    processes = []
    yield processes
    for process in processes:
        # Including the processes that it has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_one_of_two_workers_dies_and_the_run_goes_on(tmp_path, kill_at_the_end):
    both, one = tmp_path / "both", tmp_path / "one"
    workers = start_both(both, "--steps=100000")
    kill_at_the_end.extend(workers)
    wait_until(lambda: (both / "checkpoints" / "ckpt-20.index").exists(), workers)
    workers[1].kill()
    assert workers[0].wait(SECONDS) == 1
    text = workers[0].log.read_text()
    assert "error: Another worker is gone" in text and "Traceback" not in text
    reached = max(int(file.stem.split("-")[1]) for file in (both / "checkpoints").glob("*.index"))
    assert f"go on from step {reached:,}" in text

    steps = reached + 20
    workers = start_both(both, f"--steps={steps}")
    kill_at_the_end.extend(workers)
    assert [worker.wait(SECONDS) for worker in workers] == [0, 0], logs(workers)
    text = workers[0].log.read_text()
    assert f"Continuing at step {reached:,}" in text
    # One worker speaks and writes for both.
    assert "Continuing" not in workers[1].log.read_text()

    alone = start(one, "--steps=20")
    kill_at_the_end.append(alone)
    assert alone.wait(SECONDS) == 0, logs([alone])
    expected, curve = train_lines(one), train_lines(both)
    assert list(curve) == list(range(1, steps + 1))
    np.testing.assert_array_less([abs(curve[step] - expected[step]) for step in range(1, 21)], 1e-4)


@pytest.mark.slow
def test_a_signal_to_one_worker_stops_both(tmp_path, kill_at_the_end):
    directory = tmp_path / "run"
    workers = start_both(directory, "--steps=100000")
    kill_at_the_end.extend(workers)
    wait_until(lambda: (directory / "checkpoints" / "ckpt-10.index").exists(), workers)
    workers[1].send_signal(signal.SIGTERM)
    assert [worker.wait(SECONDS) for worker in workers] == [143, 143], logs(workers)
    texts = [worker.log.read_text() for worker in workers]
    assert "Stopped by another worker at step" in texts[0]
    assert "Stopped by SIGTERM at step" in texts[1]
    (step,) = {re.search(r" at step ([\d,]+), whose", text)[1].replace(",", "") for text in texts}
    assert (directory / "checkpoints" / f"ckpt-{step}.index").exists()


@pytest.mark.slow
def test_workers_whose_images_differ_are_told(tmp_path, kill_at_the_end):
    """Of as many images, with the same names."""
    files = [tmp_path / "a" / "images.npy", tmp_path / "b" / "images.npy"]
    for i, file in enumerate(files):
        file.parent.mkdir()
        np.save(file, np.random.default_rng(i).integers(0, 256, [40, 8, 8, 3], np.uint8))
    own = [[f"--data_dir={file}"] for file in files]
    workers = start_both(tmp_path / "run", "--steps=20", "--dataset=arrays", own=own)
    kill_at_the_end.extend(workers)
    assert [worker.wait(SECONDS) for worker in workers] == [1, 1], logs(workers)
    for worker in workers:
        text = worker.log.read_text()
        assert "error: The workers have different images" in text and "Traceback" not in text


@pytest.mark.slow
def test_images_that_one_worker_loses_end_both(tmp_path, kill_at_the_end):
    files = [tmp_path / "a" / "images.npy", tmp_path / "b" / "images.npy"]
    images = np.random.default_rng(0).integers(0, 256, [4000, 8, 8, 3], np.uint8)
    for file in files:
        file.parent.mkdir()
        np.save(file, images)
    own = [[f"--data_dir={file}"] for file in files]
    workers = start_both(tmp_path / "run", "--steps=100000", "--dataset=arrays", own=own)
    kill_at_the_end.extend(workers)
    wait_until(lambda: (tmp_path / "run" / "checkpoints" / "ckpt-10.index").exists(), workers)
    with files[1].open("r+b") as file:
        file.truncate(1000)
    assert [worker.wait(SECONDS) for worker in workers] == [1, 1], logs(workers)
    texts = [worker.log.read_text() for worker in workers]
    assert "error: Another worker is gone" in texts[0] and "Traceback" not in texts[0]
    assert re.search("error: .* has been cut off since it was opened. The run can go on from step", texts[1])
    assert "Traceback" not in texts[1]


# Starts a given command as the two tasks of a job step on this machine.
SRUN = """#!{python}
import os, subprocess, sys
options, command = sys.argv[1:3], sys.argv[3:]
assert options == ["--kill-on-bad-exit=1", "--cpus-per-task=2"], options
step = {{"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_STEP_TASKS_PER_NODE": "2"}}
tasks = [subprocess.Popen(command, env={{**os.environ, **step, "SLURM_PROCID": str(i)}}) for i in range(2)]
sys.exit(max(task.wait() for task in tasks))
"""
GLOW = '#!/bin/sh\nexec "{python}" -m glow_tf "$@"\n'


def write_program(path, text):
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)


def test_the_gpus_of_the_examples_divide_the_batch_of_their_flagfile():
    yaml = pytest.importorskip("yaml")
    script = (ROOT / "docs" / "slurm.sbatch").read_text()
    names = ("nodes", "gpus-per-node", "flagfile")
    nodes, gpus, flagfile = (re.search(rf"--{name}=(\w+)", script)[1] for name in names)
    worker = yaml.safe_load((ROOT / "docs" / "tfjob.yaml").read_text())["spec"]["tfReplicaSpecs"]["Worker"]
    (container,) = worker["template"]["spec"]["containers"]
    assert f"--flagfile={flagfile}" in container["command"]
    batch = re.search(r"--batch_size=(\d+)", (ROOT / "glow_tf" / "flagfiles" / f"{flagfile}.flags").read_text())[1]
    for replicas in (int(nodes) * int(gpus), worker["replicas"] * container["resources"]["limits"]["nvidia.com/gpu"]):
        assert int(batch) % replicas == 0


@pytest.mark.slow
def test_the_batch_script_trains_on_slurm(tmp_path, kill_at_the_end):
    """With stand-ins for srun and glow; SLURM itself is not available."""
    programs, directory = tmp_path / "programs", tmp_path / "run"
    programs.mkdir()
    write_program(programs / "srun", SRUN)
    write_program(programs / "glow", GLOW)
    (port,) = free_ports(1)
    command = ["bash", ROOT / "docs" / "slurm.sbatch", *SMALL, "--steps=20", f"--model_dir={directory}"]
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2"}
    job = start_command([*command, f"--cluster_port={port}"], directory, environment)
    kill_at_the_end.append(job)
    assert job.wait(SECONDS) == 0, logs([job])
    assert_trained_together(directory, job, 20)


@pytest.mark.slow
def test_the_manifest_trains_as_the_operator_starts_it(tmp_path, kill_at_the_end):
    """A process for each pod, with TF_CONFIG as the training operator sets it; Kubernetes itself is not available."""
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((ROOT / "docs" / "tfjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    (kind, replicas), directory = next(iter(job["spec"]["tfReplicaSpecs"].items())), tmp_path / "run"
    (container,) = replicas["template"]["spec"]["containers"]
    program, name, *arguments = container["command"]
    assert (kind, container["name"], program, name) == ("Worker", "tensorflow", "glow", "train")
    # Other data, and a small model.
    kept = [argument for argument in arguments if not argument.startswith(("--flagfile", "--data_dir", "--model_dir"))]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(replicas["replicas"])]
    pods = [
        start(
            directory,
            *kept,
            "--steps=20",
            tf_config={
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": i},
                "environment": "cloud",
            },
        )
        for i in range(len(addresses))
    ]
    kill_at_the_end.extend(pods)
    assert [pod.wait(SECONDS) for pod in pods] == [0, 0], logs(pods)
    assert_trained_together(directory, pods[0], 20)


def assert_trained_together(directory, process, steps):
    """Asserts that both took part in every step, and that only the first worker wrote."""
    text = process.log.read_text()
    assert text.count("Initialising from the first images") == 1 and "Traceback" not in text
    assert list(train_lines(directory)) == list(range(1, steps + 1))
    events = list((directory / "tensorboard").iterdir())
    assert len(events) == 1
