"""Training settings of experiments."""

import dataclasses
import types

import pytest

from glow_tf.commands import experiment_flags
from glow_tf.data import load_source


@pytest.fixture
def given(monkeypatch):
    """Flag values; they are not defined here, as absl allows each name only once per process."""
    values = {"steps": 20, "eval_every": 10, "train_batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 5}
    flags = types.SimpleNamespace(**values, clip_norm=50.0, flip=None, shift=None)
    monkeypatch.setattr(experiment_flags, "FLAGS", flags)
    return flags


@pytest.mark.parametrize("gpu", [True, False])
def test_xla_compiles_where_there_is_a_gpu(given, monkeypatch, gpu):
    monkeypatch.setattr(experiment_flags, "has_gpu", lambda: gpu)
    source = load_source("people", image_size=8)
    assert experiment_flags.training(source, 0).xla is gpu
    assert experiment_flags.training(source, 1, steps=8, lr_schedule="cosine", label_loss_weight=0.1).xla is gpu


def test_the_flags_and_the_seed_arrive(given):
    source = load_source("people", image_size=8)
    first, second = (experiment_flags.training(source, seed) for seed in (0, 3))
    assert (first.seed, second.seed) == (0, 3) and first == dataclasses.replace(second, seed=0)
    assert (first.steps, first.eval_every, first.batch_size) == (20, 10, 8)
    assert (first.learning_rate, first.warmup_steps, first.clip_norm) == (1e-3, 5, 50.0)


def test_images_are_augmented_as_in_the_papers_unless_flags_say_otherwise(given):
    # Without loading the data, which need their download.
    portraits, digits = (types.SimpleNamespace(name=name) for name in ("celeb_a", "mnist"))
    assert experiment_flags.training(portraits, 0).flip and not experiment_flags.training(digits, 0).flip
    for given.flip in (True, False):
        assert experiment_flags.training(portraits, 0).flip is experiment_flags.training(digits, 0).flip is given.flip
    assert [experiment_flags.training(data, 0).shift for data in (portraits, digits)] == [0, 3]
    for given.shift in (0, 2):
        assert {experiment_flags.training(data, 0).shift for data in (portraits, digits)} == {given.shift}
