"""The model that comes with the package, as its flagfile and the README describe it."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import data
from glow_tf.models import storage
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluator

FLAGFILE = pathlib.Path(__file__).parents[2] / "glow_tf" / "flagfiles" / "people_pretrained.flags"


@pytest.fixture(scope="module")
def flow():
    return glow_tf.load("pretrained")


def test_it_has_the_bits_per_dim_its_flagfile_states(flow):
    batches = data.test_batches(data.load_source("people", image_size=16), batch_size=57)
    result = Evaluator(flow, tf.distribute.get_strategy())(dequantized_for_evaluation(batches, flow.config))
    stated = float(FLAGFILE.read_text().split("Expect ")[1].split(" +- ")[0])
    assert result.mean == pytest.approx(stated, abs=0.0006)


def test_it_samples_pictures_like_those_it_learned(flow):
    learned = np.concatenate(
        [batch["images"] for batch in data.test_batches(data.load_source("people", image_size=16), 64)]
    )
    drawn = flow.sample(64, temperature=0.7, seed=3).numpy()
    # White corners above a coloured middle.
    assert np.median(drawn[:, :2, [0, -1]]) >= 248
    assert abs(drawn[:, 4:12, 4:12].mean() - learned[:, 4:12, 4:12].mean()) < 25


def test_it_is_small_enough_to_ship():
    files = [file for file in storage.PRETRAINED.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 6_000_000
