"""Strategies by name, and one clear line if devices are missing."""

import json
import os
import pathlib
import time

import pytest
import tensorflow as tf

from glow_tf.data import load_source, train_batches
from glow_tf.training import cluster, devices
from glow_tf.training.devices import distributed, make_strategy
from tests.training import helpers

# tests/conftest.py has split the CPU into this many devices.
CPUS = 4
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def no_gpu(monkeypatch):
    """Hides GPUs from the tests, which are about the CPU."""
    listed = tf.config.list_physical_devices
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [] if kind == "GPU" else listed(kind))


def test_mirrored_splits_the_cpu(no_gpu):
    strategy = make_strategy("mirrored", CPUS)
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == CPUS
    names = [str(device).rpartition("/")[2] for device in strategy.extended.worker_devices]
    assert names == [f"device:CPU:{i}" for i in range(CPUS)]


def test_one_device(no_gpu):
    strategy = make_strategy("one_device")
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert strategy.num_replicas_in_sync == 1


def test_the_cpu_cannot_be_split_in_another_way_later(no_gpu):
    tf.zeros([])
    with pytest.raises(ValueError, match="cannot be split into 5 once TensorFlow has begun"):
        make_strategy("mirrored", 5)


@pytest.mark.parametrize("name", ["one_device", "tpu"])
def test_replicas_where_they_do_not_apply(name):
    with pytest.raises(ValueError, match=f"--num_replicas=2 does not apply to --strategy={name}"):
        make_strategy(name, 2)


def test_unknown_strategies():
    with pytest.raises(ValueError, match="strategy='cluster' is not one of 'mirrored', 'multi_worker'"):
        make_strategy("cluster")


def test_more_replicas_than_gpus(monkeypatch):
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(2)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else [])
    with pytest.raises(ValueError, match="--num_replicas=5 is more than the 2 GPUs of this machine"):
        make_strategy("mirrored", 5)


def test_a_worker_without_gpus_is_one_replica(no_gpu):
    with pytest.raises(ValueError, match="--num_replicas=2: this worker has no GPU"):
        make_strategy("multi_worker", 2)


TWO = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
WRONG = {
    "not set": (None, "it is not set"),
    "empty": ("", "it is not set"),
    "no JSON": ("{worker", "does not name this worker"),
    "a list": ("[]", "does not name this worker"),
    "no task": (json.dumps({"cluster": TWO["cluster"]}), "KeyError"),
    "no cluster": (json.dumps({"task": TWO["task"]}), "KeyError"),
    "an index too large": (json.dumps({**TWO, "task": {"type": "worker", "index": 2}}), "2 is not in range"),
    "a negative index": (json.dumps({**TWO, "task": {"type": "worker", "index": -1}}), "-1 is not in range"),
    "another type": (json.dumps({**TWO, "task": {"type": "chief", "index": 0}}), "KeyError"),
    "one address": (json.dumps({**TWO, "cluster": {"worker": "a:1"}}), "must be a list"),
    "an address that is no text": (json.dumps({**TWO, "cluster": {"worker": [1, 2]}}), "must be a list"),
    "a cluster that is a list": (json.dumps({**TWO, "cluster": ["a:1"]}), "TypeError"),
    "an infinite index": (json.dumps({**TWO, "task": {"type": "worker", "index": 1e400}}), "OverflowError"),
    "too deep": ("[" * 100_000, "RecursionError"),
    "an index that is no number": (json.dumps({**TWO, "task": {"type": "worker", "index": "b"}}), "ValueError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_tf_config_is_shown_a_right_one(no_gpu, monkeypatch, name):
    text, message = WRONG[name]
    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message) as error:
        make_strategy("multi_worker")
    line = str(error.value)
    assert "\n" not in line and len(line) < 800 and "--strategy=multi_worker" in line
    cluster.of_tf_config(line.partition("TF_CONFIG='")[2].rpartition("'")[0])


@pytest.mark.parametrize("config", ["no JSON", "a list", "one address", "right"])
@pytest.mark.parametrize("name", ["mirrored", "one_device"])
def test_one_machine_does_not_read_tf_config(no_gpu, monkeypatch, name, config):
    text = json.dumps(TWO) if config == "right" else WRONG[config][0]
    monkeypatch.setenv("TF_CONFIG", text)
    strategy = make_strategy(name)
    batches = strategy.experimental_distribute_dataset(tf.data.Dataset.range(4).batch(2))
    assert [int(tf.reduce_sum(batch)) for batch in batches] == [1, 5]
    assert os.environ["TF_CONFIG"] == text


def test_iterators_end_at_once(no_gpu):
    strategy = make_strategy("mirrored", 2)
    source = load_source("people", image_size=8)
    iterators = [distributed(strategy, train_batches(source, 8, seed, flip=True)) for seed in range(16)]
    # The thread that tunes a pipeline sleeps for longer and longer, up to a minute.
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for iterator in iterators:
            next(iterator)
    longest = 0.0
    while iterators:
        began = time.monotonic()
        iterators.pop()
        longest = max(longest, time.monotonic() - began)
    # It would take some thirty seconds, and takes hundredths of one.
    assert longest < 10


@pytest.mark.parametrize("index", [0, 1, "1"])
def test_right_ones(index):
    found = cluster.of_tf_config(json.dumps({**TWO, "task": {"type": "worker", "index": index}}))
    assert found == cluster.Cluster({"worker": ["a:1", "b:2"]}, "worker", int(index))


def test_no_tpu(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ValueError, match="--strategy=tpu finds no TPU") as error:
        make_strategy("tpu")
    assert "\n" not in str(error.value)
    assert "--strategy=mirrored" in str(error.value)


@pytest.mark.parametrize(
    ("strategy", "flags"),
    [
        (lambda: tf.distribute.OneDeviceStrategy("CPU:0"), {"strategy": "one_device"}),
        (lambda: tf.distribute.MirroredStrategy(["CPU:0"]), {}),
        (helpers.two_replicas, {"num_replicas": 2}),
    ],
)
def test_the_flags_that_make_a_strategy(strategy, flags, monkeypatch):
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    assert devices.strategy_flags(strategy()) == flags
