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
from glow_tf.runtime.runtime import Runtime
from tests.marks import slow

ROOT = pathlib.Path(__file__).parents[2]
two_cores = pytest.mark.skipif(
    cores() < 2 or not hasattr(os, "sched_setaffinity"), reason="needs two cores, and to choose them"
)


def work(x, labels, y):
    """Returns values that differ by image, of several dtypes and shapes."""
    assert labels is None
    return {"sum": tf.reduce_sum(x, axis=[1, 2]), "all": (tf.cast(255 * x, tf.uint8), y[:, tf.newaxis] + 1)}


@pytest.mark.parametrize("known", [True, False], ids=["batch size known", "batch size not known"])
@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_results_are_those_of_the_whole(count, size, known):
    map_batch = Runtime(shards=count).map_batch
    rng = np.random.default_rng(0)
    x, y = rng.random([size, 3, 2], np.float32), np.arange(size, dtype=np.int32)
    signature = [tf.TensorSpec([size if known else None, *t.shape[1:]], t.dtype) for t in (x, y)]
    found = tf.function(lambda x, y: map_batch(work, x, None, y), input_signature=signature, autograph=False)(x, y)
    np.testing.assert_allclose(found["sum"], x.sum(axis=(1, 2)), rtol=1e-6)
    image, number = found["all"]
    np.testing.assert_array_equal(image, (255 * x).astype(np.uint8))
    np.testing.assert_array_equal(number, y[:, np.newaxis] + 1)


def test_each_shard_sees_its_images_alone():
    def sums(x):
        return tf.fill(tf.shape(x), tf.reduce_sum(x))

    seen = tf.function(lambda x: Runtime(shards=3).map_batch(sums, x), autograph=False)
    np.testing.assert_array_equal(seen(tf.range(6)), [1, 1, 5, 5, 9, 9])


@two_cores
def test_shards_are_computed_at_the_same_time():
    barrier = threading.Barrier(2)

    def meet(x):
        # A shard that is alone here times out.
        barrier.wait(timeout=60)
        return x

    def rendezvous(x):
        return tf.ensure_shape(tf.numpy_function(meet, [x], x.dtype, stateful=False), x.shape)

    met = tf.function(lambda x: Runtime(shards=2).map_batch(rendezvous, x), autograph=False)
    np.testing.assert_array_equal(met(tf.range(4)), [0, 1, 2, 3])


# TensorFlow's threads are configured before it computes anything, so each of these needs its own process.
TRAINING = """
import json, os, sys
import tensorflow as tf
from absl import flags
import glow_tf
from glow_tf import options
arguments, begun = json.loads(sys.argv[1])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
if begun:
    tf.zeros([])
flags.FLAGS(["main", *arguments])
print(options.runtime(options.model_config((32, 32, 3), 0)).shards)
"""
TOOL = """
import os, sys
from absl import flags
from glow_tf.commands import common_flags, model_flags
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
common_flags.define(*model_flags.NAMES)
flags.FLAGS(sys.argv[:1] + sys.argv[2:])
print(model_flags.load_flow(many=sys.argv[1] == "many").runtime.shards)
"""


def shards_of_a_process(script, *arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@two_cores
@pytest.mark.parametrize(
    ("arguments", "begun", "shards"),
    [
        (["--batch_size=8", "--width=64"], False, 2),
        (["--batch_size=8", "--width=64", "--xla"], False, 1),
        slow((["--batch_size=7", "--width=64"], False, 1)),
        slow((["--batch_size=16", "--accumulate_steps=4", "--width=64"], False, 1)),
        slow(([], False, 2)),
        slow((["--width=513"], False, 1)),
        slow((["--width=64", "--num_replicas=2"], False, 1)),
        slow((["--width=64", "--strategy=multi_worker"], False, 1)),
        slow((["--model=real_nvp"], False, 1)),
        slow((["--model=jet", "--width=64"], False, 2)),
        slow((["--model=flow_plus_plus"], False, 2)),
        slow((["--width=64"], True, 1)),
    ],
)
def test_training_shards_where_that_pays(arguments, begun, shards):
    assert shards_of_a_process(TRAINING, json.dumps([arguments, begun])) == shards


@two_cores
@pytest.mark.parametrize(
    ("arguments", "shards"),
    [
        slow((["many"], 2)),
        slow((["few"], 1)),
        slow((["many", "--batch_size=7"], 1)),
        slow((["many", "--xla"], 1)),
    ],
    ids=["many images", "few images", "a small batch", "XLA"],
)
def test_tools_shard_where_that_pays(arguments, shards):
    assert shards_of_a_process(TOOL, *arguments) == shards


def test_a_runtime_is_checked():
    with pytest.raises(ValueError, match="device='TPUs' is not one of"):
        Runtime(device="TPUs")
    with pytest.raises(ValueError, match="shards=0 must be an integer of at least 1"):
        Runtime(shards=0)
    with pytest.raises(ValueError, match="network_precision='half' is not one of"):
        Runtime(network_precision="half")
