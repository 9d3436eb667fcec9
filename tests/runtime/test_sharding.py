"""Sharding of batches over cores."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.runtime.cores import cores
from glow_tf.runtime.sharding import map_shards
from tests.marks import slow

ROOT = pathlib.Path(__file__).parents[2]
two_cores = pytest.mark.skipif(
    cores() < 2 or not hasattr(os, "sched_setaffinity"), reason="needs two cores, and to choose them"
)


def set_shards(monkeypatch, count):
    monkeypatch.setattr("glow_tf.runtime.sharding.num_shards", lambda: count)


def work(x, labels, y):
    """Values that differ by image, of several types and shapes."""
    assert labels is None
    return {"sum": tf.reduce_sum(x, axis=[1, 2]), "all": (tf.cast(255 * x, tf.uint8), y[:, tf.newaxis] + 1)}


@pytest.mark.parametrize("known", [True, False], ids=["batch size known", "batch size not known"])
@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_results_are_those_of_the_whole(monkeypatch, count, size, known):
    set_shards(monkeypatch, count)
    rng = np.random.default_rng(0)
    x, y = rng.random([size, 3, 2], np.float32), np.arange(size, dtype=np.int32)
    signature = [tf.TensorSpec([size if known else None, *t.shape[1:]], t.dtype) for t in (x, y)]
    found = tf.function(lambda x, y: map_shards(work, x, None, y), input_signature=signature, autograph=False)(x, y)
    np.testing.assert_allclose(found["sum"], x.sum(axis=(1, 2)), rtol=1e-6)
    image, number = found["all"]
    np.testing.assert_array_equal(image, (255 * x).astype(np.uint8))
    np.testing.assert_array_equal(number, y[:, np.newaxis] + 1)


def test_each_shard_sees_its_images_alone(monkeypatch):
    set_shards(monkeypatch, 3)
    seen = tf.function(lambda x: map_shards(lambda x: tf.fill(tf.shape(x), tf.reduce_sum(x)), x), autograph=False)
    np.testing.assert_array_equal(seen(tf.range(6)), [1, 1, 5, 5, 9, 9])


@two_cores
def test_shards_are_computed_at_the_same_time(monkeypatch):
    set_shards(monkeypatch, 2)
    barrier = threading.Barrier(2)

    def meet(x):
        # Whoever is alone here waits in vain.
        barrier.wait(timeout=60)
        return x

    def of_shard(x):
        return tf.ensure_shape(tf.numpy_function(meet, [x], x.dtype, stateful=False), x.shape)

    met = tf.function(lambda x: map_shards(of_shard, x), autograph=False)
    np.testing.assert_array_equal(met(tf.range(4)), [0, 1, 2, 3])


# What TensorFlow does with its threads is settled before it computes: each of these needs a process of its own.
STRATEGY = """
import json, os, sys
import tensorflow as tf
from glow_tf.runtime.sharding import num_shards
from glow_tf.training.devices import make_strategy
replicas, images, width, begun = json.loads(sys.argv[1])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
if begun:
    tf.zeros([])
make_strategy("mirrored", replicas, images=images, width=width)
print(num_shards())
"""
TOOL = """
import os, sys
from absl import flags
from glow_tf.runtime.sharding import num_shards
from tools import common_flags, model_flags
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
common_flags.define(*model_flags.NAMES)
flags.FLAGS(sys.argv[:1] + sys.argv[2:])
model_flags.load_flow(many=sys.argv[1] == "many")
print(num_shards())
"""


def shards_of_a_process(script, *arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@two_cores
@pytest.mark.parametrize(
    ("replicas", "images", "width", "begun", "shards"),
    [
        (None, 8, 64, False, 2),
        *(slow((None, images, 64, False, 1)) for images in (7, None)),
        slow((None, 64, 512, False, 2)),
        slow((None, 64, 513, False, 1)),
        slow((2, 64, 64, False, 1)),
        slow((None, 64, 64, True, 1)),
    ],
    ids=["narrow", "few images", "images not known", "wide", "too wide", "replicas", "too late"],
)
def test_training_shards_where_that_pays(replicas, images, width, begun, shards):
    assert shards_of_a_process(STRATEGY, json.dumps([replicas, images, width, begun])) == shards


@two_cores
@pytest.mark.parametrize(
    ("arguments", "shards"),
    [slow((["many"], 2)), slow((["few"], 1)), slow((["many", "--batch_size=7"], 1))],
    ids=["many images", "few images", "a small batch"],
)
def test_tools_shard_where_that_pays(arguments, shards):
    assert shards_of_a_process(TOOL, *arguments) == shards
