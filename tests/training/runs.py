"""Whole runs of the Trainer on a few images, for the tests of their results."""

import json
import signal

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.data import load_source
from glow_tf.training import loop
from glow_tf.training.config import TrainingConfig
from glow_tf.training.loop import Trainer
from glow_tf.training.signals import TrainingStopped
from tests.training import helpers

ONE_DEVICE = tf.distribute.OneDeviceStrategy("CPU:0")
# Includes an evaluation.
LONG = {"steps": 8, "log_every": 3, "eval_every": 5, "eval_images": 4}


def make_source(folder, config):
    """Returns a source of 40 train and 11 test images with labels."""
    path = folder / "images.npz"
    np.savez(path, images=helpers.random_images(51, config), labels=np.arange(51) % 3)
    return load_source("arrays", data_dir=str(path), test_size=11)


def training(**fields):
    defaults = {
        "batch_size": 8,
        "steps": 8,
        "warmup_steps": 2,
        "learning_rate": 1e-2,
        "ema_decay": 0.5,
        "steps_per_call": 1,
        "log_every": 1,
        "eval_every": 0,
        "sample_every": 0,
        "checkpoint_every": 0,
        "samples": 4,
    }
    return TrainingConfig(**{**defaults, **fields})


def train(directory, source, config=helpers.TINY, strategy=ONE_DEVICE, **fields):
    trainer = Trainer(config, training(**fields), source, directory, strategy)
    return trainer, trainer.run()


def assert_same_weights(a, b):
    for path, variable in a.flow.named_variables().items():
        np.testing.assert_array_equal(variable, b.flow.named_variables()[path], err_msg=path)


def lines(directory, kind):
    parsed = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in parsed if line["kind"] == kind]


class Signalling(loop.Progress):
    """Progress that sends the process a signal once a step is reached, as if from outside."""

    at, number = None, signal.SIGTERM

    def update(self, step, *numbers):
        super().update(step, *numbers)
        if self.at is not None and step >= self.at:
            signal.raise_signal(self.number)


def stop_at(monkeypatch, directory, source, step, config=helpers.TINY, **fields):
    """Trains until a signal stops the run at step `step`, and returns the trainer."""
    trainer = Trainer(config, training(**fields), source, directory, ONE_DEVICE)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Progress", Signalling)
        patch.setattr(Signalling, "at", step)
        with pytest.raises(TrainingStopped) as stopped:
            trainer.run()
    assert stopped.value.signal == signal.SIGTERM
    assert stopped.value.step == trainer.step
    return trainer
