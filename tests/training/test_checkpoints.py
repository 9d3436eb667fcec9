"""What a training run stores, and what it refuses to continue."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.models import storage
from glow_tf.training.checkpoints import Checkpoints, claim_directory
from glow_tf.training.optimizer import steps_made
from tests.training import helpers


def make(directory, **fields):
    """A run in `directory`, with its checkpoints."""
    run = helpers.Run(helpers.training(**fields))
    return run, Checkpoints(directory, run.flow, run.optimizer, 2)


def state(run):
    return [
        *run.weights(),
        *(a.numpy() for a in run.optimizer.averages),
        *(v.numpy() for v in run.optimizer.variables),
    ]


def test_all_of_the_state_comes_back(tmp_path):
    run, checkpoints = make(tmp_path)
    run(3)
    path = checkpoints.save(3)
    again, others = make(tmp_path)
    assert others.latest_step == 3
    assert others.restore() == path
    for a, b in zip(state(run), state(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps_made(again.optimizer) == 3
    assert again.flow.initialized

    storage.save_config(helpers.CONFIG, tmp_path)
    raw, ema = (storage.load(tmp_path, weights=weights).named_variables(trainable=True) for weights in ("raw", "ema"))
    for i, path in enumerate(run.flow.named_variables(trainable=True)):
        np.testing.assert_array_equal(raw[path], run.weights()[i])
        np.testing.assert_array_equal(ema[path], run.optimizer.averages[i])
    assert any(np.any(raw[path] != ema[path]) for path in raw)


def test_nothing_to_restore(tmp_path):
    _, checkpoints = make(tmp_path)
    assert checkpoints.latest_step is None
    assert checkpoints.restore() is None


def test_only_the_newest_are_kept(tmp_path):
    _, checkpoints = make(tmp_path)
    for step in (1, 5, 20):
        checkpoints.save(step)
    indices = {file.stem for file in (tmp_path / storage.CHECKPOINTS).glob("*.index")}
    assert indices == {"ckpt-5", "ckpt-20"}
    assert checkpoints.latest_step == 20


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        ({}, {"optimizer": "adam"}),
        ({"optimizer": "adam"}, {}),
        ({"ema_decay": 0.0}, {}),
    ],
)
def test_another_optimizer_is_refused(tmp_path, saved, other):
    make(tmp_path, **saved)[1].save(1)
    _, checkpoints = make(tmp_path, **other)
    with pytest.raises(ValueError, match="another optimizer or --ema_decay") as error:
        checkpoints.restore()
    assert len(str(error.value)) < 1000


def test_the_averages_may_be_given_up(tmp_path):
    run, checkpoints = make(tmp_path)
    run(2)
    checkpoints.save(2)
    again, others = make(tmp_path, ema_decay=0.0)
    others.restore()
    for a, b in zip(run.weights(), again.weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps_made(again.optimizer) == 2


@pytest.mark.parametrize("suffix", ["data-00000-of-00001", "index"])
def test_a_damaged_checkpoint_is_refused(tmp_path, suffix):
    make(tmp_path)[1].save(1)
    (file,) = (tmp_path / storage.CHECKPOINTS).glob(f"*.{suffix}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    _, checkpoints = make(tmp_path)
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.restore()


def test_a_checkpoint_of_two_replicas_is_continued_by_one(tmp_path):
    training = helpers.training()
    two = helpers.Run(training, strategy=helpers.two_replicas())
    two(2)
    Checkpoints(tmp_path, two.flow, two.optimizer, 2).save(2)
    one, checkpoints = make(tmp_path)
    checkpoints.restore()
    for a, b in zip(two.weights(), one.weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps_made(one.optimizer) == 2
    assert tf.reduce_all(one.flow.initialized)


def test_a_directory_belongs_to_one_model(tmp_path):
    directory = tmp_path / "runs" / "model"
    claim_directory(directory, helpers.CONFIG)
    claim_directory(directory, helpers.CONFIG)
    assert storage.load_config(directory) == helpers.CONFIG
    layers = list(helpers.CONFIG.layers)
    layers[1] = dataclasses.replace(layers[1], width=64)
    other = dataclasses.replace(helpers.CONFIG, layers=tuple(layers), n_bits=8)
    with pytest.raises(ValueError) as error:
        claim_directory(directory, other)
    assert "n_bits: 5 here, 8 there" in str(error.value)
    assert "layers[1].width: 4 here, 64 there" in str(error.value)
    assert "--model_dir" in str(error.value)
    assert storage.load_config(directory) == helpers.CONFIG
