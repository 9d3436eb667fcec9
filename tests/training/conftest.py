"""Images and a run that several tests share."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training import batches, loop
from glow_tf.training.batches import dequantized
from tests.training import helpers
from tests.training.runs import LONG, make_source, train


@pytest.fixture(scope="module")
def short_timing():
    """Shortens the timing of the input pipeline, which takes a second of every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_SECONDS_TO_TIME_THE_PIPELINE", 0.01)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("data"), helpers.CONFIG)


@pytest.fixture(scope="module")
def tiny_source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("data"), helpers.TINY)


@pytest.fixture(scope="module")
def through(tmp_path_factory, tiny_source):
    """An uninterrupted run of eight steps."""
    directory = tmp_path_factory.mktemp("through")
    return directory, *train(directory, tiny_source, steps_per_call=5, **LONG)


@pytest.fixture
def poison(monkeypatch):
    """Makes the batches numbered `bad` non-finite while `active()`; the first batch is 0."""

    def poison(bad, active=lambda: True):
        def poisoned(images, config, seed, *, start_step=0, dtype=tf.float32):
            clean = dequantized(images, config, seed, start_step=start_step, dtype=dtype)
            if not active():
                return clean

            def wrong(step, batch):
                is_bad = tf.reduce_any(step == tf.constant(bad, tf.int64))
                return {**batch, "x": tf.where(is_bad, np.nan, batch["x"])}

            return clean.enumerate(start_step).map(wrong)

        monkeypatch.setattr(batches, "dequantized", poisoned)

    return poison
