"""Whole runs of the Trainer on a few images."""

import json

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.data import load_source
from glow_tf.models import storage
from glow_tf.training.config import TrainingConfig
from glow_tf.training.loop import Trainer
from tests.training import helpers

ONE_DEVICE = tf.distribute.OneDeviceStrategy("CPU:0")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """40 images to train on and 11 to test on, with labels."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    images = helpers.random_images(51)
    np.savez(path, images=images, labels=np.arange(51) % 3)
    return load_source("arrays", data_dir=str(path), test_size=11)


def training(**fields):
    defaults = {
        "batch_size": 8,
        "steps": 4,
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


def train(directory, source, config=helpers.CONFIG, strategy=ONE_DEVICE, **fields):
    trainer = Trainer(config, training(**fields), source, directory, strategy)
    return trainer, trainer.run()


def lines(directory, kind):
    parsed = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in parsed if line["kind"] == kind]


def shape_of(png):
    return tuple(tf.io.decode_png(png.read_bytes()).shape)


def test_a_run_leaves_everything_it_should(tmp_path, source):
    config = helpers.CONFIG
    trainer, result = train(
        tmp_path,
        source,
        steps=20,
        steps_per_call=3,
        log_every=5,
        eval_every=10,
        eval_images=4,
        sample_every=8,
        samples=6,
        checkpoint_every=8,
        keep_checkpoints=2,
    )
    assert trainer.step == 20
    assert trainer.flow.initialized
    assert (result.images, result.label_error) == (11, None)
    assert 0 < result.mean < 20 and 0 < result.standard_error < 5

    train_lines, test_lines = lines(tmp_path, "train"), lines(tmp_path, "test")
    assert [line["step"] for line in train_lines] == [5, 10, 15, 20]
    assert {"loss", "bits_per_dim", "gradient_norm", "images_per_second", "learning_rate"} <= train_lines[0].keys()
    assert train_lines[-1]["loss"] < train_lines[0]["loss"]
    assert [(line["step"], line["images"]) for line in test_lines] == [(10, 4), (20, 11)]
    assert test_lines[-1]["bits_per_dim"] == result.mean

    assert storage.load_config(tmp_path) == config
    names = {file.stem for file in (tmp_path / "checkpoints").glob("*.index")}
    assert names == {"ckpt-16", "ckpt-20"}
    samples = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in samples] == [f"step_{step:07d}.png" for step in (8, 16, 20)]
    assert trainer.samples_path == samples[-1]
    # 3 columns and 2 rows of 8 pixels with borders of 1, enlarged 8 times.
    assert {shape_of(file) for file in samples} == {(8 * 19, 8 * 28, 3)}
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))

    loaded = storage.load(tmp_path)
    assert loaded.initialized
    raw = storage.load(tmp_path, weights="raw").named_variables()
    for path, variable in trainer.flow.named_variables().items():
        np.testing.assert_array_equal(raw[path], variable, err_msg=path)
    assert any(np.any(loaded.named_variables()[path] != raw[path]) for path in raw)


@pytest.fixture(scope="module")
def through(tmp_path_factory, source):
    """A run of four steps without a stop."""
    directory = tmp_path_factory.mktemp("through")
    return directory, *train(directory, source)


def test_continuing_is_bit_exact(tmp_path, source, through):
    directory, trainer, expected = through
    train(tmp_path, source, steps=2)
    again, result = train(tmp_path, source)
    assert result == expected
    for name in ("loss", "bits_per_dim", "gradient_norm", "learning_rate"):
        values = [[line[name] for line in lines(run, "train")] for run in (directory, tmp_path)]
        assert len(values[0]) == 4
        assert values[0] == values[1], name
    for path, variable in trainer.flow.named_variables().items():
        np.testing.assert_array_equal(variable, again.flow.named_variables()[path], err_msg=path)


def test_a_finished_run_is_only_evaluated(source, through):
    directory, _, expected = through
    checkpoints = sorted(file.name for file in (directory / "checkpoints").iterdir())
    trainer, result = train(directory, source)
    assert result == expected
    assert trainer.step == 4
    assert [line["step"] for line in lines(directory, "train")] == [1, 2, 3, 4]
    assert sorted(file.name for file in (directory / "checkpoints").iterdir()) == checkpoints


def test_two_replicas_a_classifier_and_partial_batches(tmp_path, source):
    _, result = train(
        tmp_path, source, helpers.LABELLED, helpers.two_replicas(), steps=2, label_loss_weight=0.1, flip=True
    )
    assert result.images == 11
    assert 0 <= result.label_error <= 1
    line = lines(tmp_path, "train")[-1]
    np.testing.assert_allclose(line["loss"], line["bits_per_dim"] + 0.1 * line["label_bits"], rtol=1e-5)
    assert lines(tmp_path, "test")[-1]["label_error"] == result.label_error


def test_another_seed_is_another_run(tmp_path, source, through):
    train(tmp_path, source, steps=1, seed=1)
    assert lines(tmp_path, "train")[0]["loss"] != lines(through[0], "train")[0]["loss"]


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, source):
    larger = glow_tf.glow((16, 16, 3), K=1, L=1, width=4)
    with pytest.raises(ValueError, match=r"\(8, 8, 3\).*\(16, 16, 3\)"):
        Trainer(larger, training(), source, tmp_path / "a", ONE_DEVICE)
    with pytest.raises(ValueError, match="--batch_size=7 .* multiple of 2"):
        Trainer(helpers.CONFIG, training(batch_size=7), source, tmp_path / "a", helpers.two_replicas())
    assert not (tmp_path / "a").exists()


def test_a_directory_of_another_model_is_refused(tmp_path, source):
    Trainer(helpers.CONFIG, training(), source, tmp_path, ONE_DEVICE)
    with pytest.raises(ValueError, match="another model"):
        Trainer(helpers.LABELLED, training(), source, tmp_path, ONE_DEVICE)
