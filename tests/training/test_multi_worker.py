"""Two processes on loopback train one model; one dies, both start again, the run goes on."""

import json
import os
import pathlib
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
SECONDS = 150


def start(directory, *arguments, tf_config=None):
    """The training program in a process of its own; what it writes goes to a file beside `directory`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    command = [sys.executable, "-m", "glow_tf.main", *SMALL, f"--model_dir={directory}", *arguments]
    log = directory.with_name(f"{directory.name}_{time.monotonic_ns()}.log")
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    process.log = log
    return process


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_both(directory, *arguments):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    configs = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in (0, 1)]
    return [start(directory, "--strategy=multi_worker", *arguments, tf_config=config) for config in configs]


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
        process.kill()
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
