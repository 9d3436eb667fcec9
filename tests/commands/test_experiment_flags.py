"""Training settings of experiments."""

import types

import pytest

from glow_tf.commands import experiment_flags
from glow_tf.data import load_source


@pytest.fixture
def given(monkeypatch):
    """Flag values; they are not defined here, as absl allows each name only once per process."""
    values = {"steps": 20, "eval_every": 10, "train_batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 5}
    flags = types.SimpleNamespace(**values, clip_norm=50.0, flip=None)
    monkeypatch.setattr(experiment_flags, "FLAGS", flags)
    return flags


@pytest.mark.parametrize("gpu", [True, False])
def test_xla_compiles_where_there_is_a_gpu(given, monkeypatch, gpu):
    monkeypatch.setattr(experiment_flags, "has_gpu", lambda: gpu)
    source = load_source("people", image_size=8)
    assert experiment_flags.training(source, 0).xla is gpu
    assert experiment_flags.training(source, 1, steps=8, lr_schedule="cosine", label_loss_weight=0.1).xla is gpu
