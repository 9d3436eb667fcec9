"""The training config accepts settings that can be run, and names those that cannot."""

import dataclasses
import json

import numpy as np
import pytest

from glow_tf.training.config import TrainingConfig


def test_it_is_frozen_and_takes_keywords_only():
    config = TrainingConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 3
    with pytest.raises(TypeError):
        TrainingConfig(64)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("steps", 0),
        ("steps", 1.5),
        ("steps_per_call", 0),
        ("log_every", 0),
        ("samples", 0),
        ("keep_checkpoints", 0),
        ("warmup_steps", -1),
        ("init_images", -1),
        ("eval_every", -1),
        ("early_stop", -1),
        ("seed", -1),
        ("seed", 2**31),
        ("optimizer", "sgd"),
        ("lr_schedule", "step"),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("beta2", float("nan")),
        ("epsilon", 0.0),
        ("weight_decay", -0.1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("clip_norm", -1.0),
        ("label_loss_weight", -1.0),
        ("temperature", -0.1),
        ("ema_decay", 1.0),
        ("ema_decay", -0.1),
        ("accumulate_steps", 0),
        ("max_skipped", 0),
        ("max_rollbacks", -1),
        ("shift", -1),
        ("labels_per_class", -1),
        ("labels_per_class", 0.5),
        ("checkpoint_minutes", -1.0),
        ("checkpoint_minutes", float("nan")),
        ("keep_every_hours", -1.0),
        *((name, float("inf")) for name in ("learning_rate", "epsilon", "clip_norm", "weight_decay", "temperature")),
        *((name, float("inf")) for name in ("label_loss_weight", "checkpoint_minutes", "keep_every_hours")),
    ],
)
def test_fields_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field}="):
        TrainingConfig(**{field: value})


def test_parts_of_a_batch_are_of_one_size():
    with pytest.raises(ValueError, match="batch_size=10 must be a multiple of accumulate_steps=4"):
        TrainingConfig(batch_size=10, accumulate_steps=4)
    TrainingConfig(batch_size=12, accumulate_steps=4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_decay": 0.1}, "weight_decay=0.1 does not apply to optimizer='adamax'"),
        ({"weight_decay": 0.1, "optimizer": "adam"}, "weight_decay=0.1 does not apply to optimizer='adam'"),
        ({"optimizer": "adamw"}, "optimizer='adamw' needs a weight_decay"),
        ({"labels_per_class": 4}, "labels_per_class=4 needs a label_loss_weight"),
        ({"labelled_only": True}, "labelled_only=True needs labels_per_class above 0"),
        ({"early_stop": 3, "eval_every": 0}, "early_stop=3 goes by evaluations, .* none .* eval_every=0"),
        ({"early_stop": 3, "eval_every": 50, "steps": 50}, "none .* eval_every=50 and steps=50"),
        ({"lr_schedule": "cosine", "steps": 100}, "'cosine' begins after warmup_steps=1000.* less than steps=100"),
        ({"lr_schedule": "linear", "steps": 5, "warmup_steps": 5}, "'linear' begins after warmup_steps=5"),
    ],
)
def test_what_would_do_nothing_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**fields)


def test_what_belongs_together_is_taken():
    TrainingConfig(optimizer="adamw", weight_decay=0.1)
    TrainingConfig(lr_schedule="cosine", steps=6, warmup_steps=5)
    TrainingConfig(early_stop=1, eval_every=50, steps=51)
    TrainingConfig(labels_per_class=4, label_loss_weight=0.1)


@pytest.mark.parametrize(
    "fields",
    [
        {"checkpoint_minutes": 0.0, "keep_every_hours": 0.0, "max_rollbacks": 0, "shift": 0},
        {"warmup_steps": 0, "init_images": 0, "eval_every": 0, "sample_every": 0, "checkpoint_every": 0},
        {"ema_decay": 0.0, "clip_norm": 0.0, "temperature": 0.0, "label_loss_weight": 0.0, "seed": 0},
    ],
)
def test_zero_turns_things_off(fields):
    TrainingConfig(**fields)


def test_numpy_numbers_become_python_numbers():
    config = TrainingConfig(steps=np.int64(5), learning_rate=np.float32(0.5), flip=np.True_)
    assert json.loads(json.dumps(dataclasses.asdict(config))) == dataclasses.asdict(
        TrainingConfig(steps=5, learning_rate=0.5, flip=True)
    )
