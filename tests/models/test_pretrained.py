"""The pretrained models of the package, against their flagfiles and the README."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import data
from glow_tf.models import storage
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluator

FLAGFILES = pathlib.Path(__file__).parents[2] / "glow_tf" / "flagfiles"
MOST_MEGABYTES = {"pretrained": 6, "pretrained_32": 12}


@pytest.fixture(scope="module", params=MOST_MEGABYTES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def flow(name):
    return glow_tf.load(name)


@pytest.fixture(scope="module")
def held_out(flow):
    return data.load_source("people", image_size=flow.config.image_shape[0])


def test_it_has_the_bits_per_dim_its_flagfile_states(name, flow, held_out):
    batches = data.test_batches(held_out, batch_size=57)
    result = Evaluator(flow, tf.distribute.get_strategy())(dequantized_for_evaluation(batches, flow.config))
    stated = float((FLAGFILES / f"people_{name}.flags").read_text().split("Expect ")[1].split(" +- ")[0])
    assert result.mean == pytest.approx(stated, abs=0.0006)


def test_it_samples_pictures_like_those_it_learned(flow, held_out):
    learned = np.concatenate([batch["images"] for batch in data.test_batches(held_out, 64)])
    drawn = flow.sample(64, seed=3).numpy()
    # White top corners, and a middle that is as bright as that of portraits.
    assert np.median(drawn[:, :2, [0, -1]]) >= 248
    brightness, expected = _brightness_of_the_middle(drawn), _brightness_of_the_middle(learned)
    assert np.mean((brightness >= expected.min()) & (brightness <= expected.max())) > 0.9


def test_the_middle_is_as_bright_as_that_of_portraits_at_a_lower_temperature():
    learned = next(iter(data.test_batches(data.load_source("people", image_size=16), 114)))["images"].numpy()
    drawn = glow_tf.load("pretrained").sample(64, temperature=0.7, seed=3).numpy()
    assert abs(drawn[:, 4:12, 4:12].mean() - learned[:, 4:12, 4:12].mean()) < 25


def _brightness_of_the_middle(images):
    middle = slice(images.shape[1] // 4, -images.shape[1] // 4)
    return images[:, middle, middle].mean(axis=(1, 2, 3))


def test_it_is_small_enough_to_ship(name):
    files = [file for file in storage.PRETRAINED[name].rglob("*") if file.is_file()]
    assert 0 < sum(file.stat().st_size for file in files) < 1_000_000 * MOST_MEGABYTES[name]
