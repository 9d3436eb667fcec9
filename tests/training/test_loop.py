"""Whole runs of the Trainer on a few images: what they leave, and what becomes of those that are stopped or fail."""

import json
import signal

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

import glow_tf
from glow_tf.data import load_source
from glow_tf.models import storage
from glow_tf.training import loop
from glow_tf.training.batches import dequantized
from glow_tf.training.config import TrainingConfig
from glow_tf.training.guard import DivergenceError
from glow_tf.training.loop import Trainer
from glow_tf.training.signals import TrainingStopped
from tests.training import helpers

ONE_DEVICE = tf.distribute.OneDeviceStrategy("CPU:0")


@pytest.fixture(scope="module", autouse=True)
def short_timing():
    """Timing the input pipeline takes a second of every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_SECONDS_TO_TIME_THE_PIPELINE", 0.01)
        yield


def make_source(folder, config):
    """40 images to train on and 11 to test on, with labels."""
    path = folder / "images.npz"
    np.savez(path, images=helpers.random_images(51, config), labels=np.arange(51) % 3)
    return load_source("arrays", data_dir=str(path), test_size=11)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("data"), helpers.CONFIG)


@pytest.fixture(scope="module")
def tiny_source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("data"), helpers.TINY)


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


def shape_of(png):
    return tuple(tf.io.decode_png(png.read_bytes()).shape)


def test_a_run_leaves_everything_it_should(tmp_path, source):
    config = helpers.CONFIG
    trainer, result = train(
        tmp_path,
        source,
        config,
        steps=20,
        steps_per_call=3,
        log_every=5,
        eval_every=10,
        eval_images=4,
        sample_every=8,
        samples=6,
        checkpoint_every=8,
        keep_checkpoints=2,
        keep_every_hours=0.0,
    )
    assert trainer.step == 20 and trainer.is_chief
    assert trainer.flow.initialized
    assert (result.images, result.label_error) == (11, None)
    assert 0 < result.mean < 20 and 0 < result.standard_error < 5

    train_lines, test_lines = lines(tmp_path, "train"), lines(tmp_path, "test")
    assert [line["step"] for line in train_lines] == [5, 10, 15, 20]
    measured = {"loss", "bits_per_dim", "gradient_norm", "images_per_second", "learning_rate", "skipped_steps"}
    assert {"step", "time", "kind", *measured} == train_lines[0].keys()
    assert train_lines[-1]["loss"] < train_lines[0]["loss"]
    assert [(line["step"], line["images"]) for line in test_lines] == [(10, 4), (20, 11)]
    assert test_lines[-1]["bits_per_dim"] == result.mean
    (pipeline,) = lines(tmp_path, "pipeline")
    assert pipeline["step"] == 0 and pipeline["images_per_second"] > 0

    assert storage.load_config(tmp_path) == config
    names = {file.stem for file in (tmp_path / "checkpoints").glob("*.index")}
    assert names == {"ckpt-16", "ckpt-20"}
    samples = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in samples] == [f"step_{step:07d}.png" for step in (8, 16, 20)]
    assert trainer.reports.samples_path == samples[-1]
    # 3 columns and 2 rows of 8 pixels with borders of 1, enlarged 8 times.
    assert {shape_of(file) for file in samples} == {(8 * 19, 8 * 28, 3)}
    assert [file.name for file in sorted((tmp_path / "reconstructions").iterdir())] == [
        f"step_{step:07d}.png" for step in (10, 20)
    ]
    assert tags(tmp_path) >= {
        *(f"train/{name}" for name in measured),
        *("test/bits_per_dim", "test/standard_error", "pipeline/images_per_second"),
        *(f"{kind}/level_{level}" for kind in ("log_det", "prior", "condition") for level in (1, 2)),
        *("round_trip/error", "samples", "reconstructions"),
    }

    loaded = storage.load(tmp_path)
    assert loaded.initialized
    raw = storage.load(tmp_path, weights="raw").named_variables()
    for path, variable in trainer.flow.named_variables().items():
        np.testing.assert_array_equal(raw[path], variable, err_msg=path)
    assert any(np.any(loaded.named_variables()[path] != raw[path]) for path in raw)


def tags(directory):
    """The names under which TensorBoard finds something."""
    accumulator = event_accumulator.EventAccumulator(str(directory / "tensorboard"))
    accumulator.Reload()
    return set(accumulator.Tags()["tensors"])


class Signalling(loop.Progress):
    """Sends the process SIGTERM once a step is reached, as if from outside."""

    at = None

    def update(self, step, *numbers):
        super().update(step, *numbers)
        if self.at is not None and step >= self.at:
            signal.raise_signal(signal.SIGTERM)


def stop_at(monkeypatch, directory, source, step, **fields):
    """A run that is stopped at a step by a signal."""
    trainer = Trainer(helpers.TINY, training(**fields), source, directory, ONE_DEVICE)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Progress", Signalling)
        patch.setattr(Signalling, "at", step)
        with pytest.raises(TrainingStopped) as stopped:
            trainer.run()
    assert stopped.value.signal == signal.SIGTERM
    assert stopped.value.step == trainer.step
    return trainer


LONG = {"steps": 8, "log_every": 3, "eval_every": 5, "eval_images": 4}


@pytest.fixture(scope="module")
def through(tmp_path_factory, tiny_source):
    """A run of eight steps without a stop."""
    directory = tmp_path_factory.mktemp("through")
    return directory, *train(directory, tiny_source, steps_per_call=5, **LONG)


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory, tiny_source):
    """The same run with another number of steps a call, stopped at step 4, within a period of logging; and again in
    the evaluation at step 5, when averages stand in the weights' place."""
    directory = tmp_path_factory.mktemp("pieces")
    with pytest.MonkeyPatch.context() as patch:
        stopped = stop_at(patch, directory, tiny_source, 4, **LONG)
        assert stopped.step == 4
        handlers = signal.getsignal(signal.SIGTERM)

        class Evaluation(loop.Reports):
            """In whose evaluations SIGINT arrives."""

            def evaluate(self, *arguments):
                signal.raise_signal(signal.SIGINT)
                return super().evaluate(*arguments)

        patch.setattr(loop, "Reports", Evaluation)
        trainer = Trainer(helpers.TINY, training(**LONG), tiny_source, directory, ONE_DEVICE)
        with pytest.raises(TrainingStopped, match="Stopped by SIGINT at step 5, whose checkpoint is written"):
            trainer.run()
        assert signal.getsignal(signal.SIGTERM) is handlers
    return directory, *train(directory, tiny_source, steps_per_call=2, **LONG)


def test_continuing_is_bit_exact(through, in_pieces):
    (_, trainer, expected), (_, again, result) = through, in_pieces
    assert result == expected
    assert_same_weights(trainer, again)
    # The evaluation that was interrupted is made up for, and every other one made once.
    first, second = (
        [{name: value for name, value in line.items() if name != "time"} for line in lines(run[0], "test")]
        for run in (through, in_pieces)
    )
    assert [line["step"] for line in first] == [5, 8]
    assert first == second
    assert (int(trainer.state.best_step), trainer.state.best_bits_per_dim.numpy()) == (
        int(again.state.best_step),
        again.state.best_bits_per_dim.numpy(),
    )


def test_logged_numbers_depend_neither_on_calls_nor_on_stops(through, in_pieces):
    first, second = (lines(run[0], "train") for run in (through, in_pieces))
    assert [line["step"] for line in first] == [line["step"] for line in second] == [3, 6, 8]
    for name in ("loss", "bits_per_dim", "gradient_norm", "learning_rate", "skipped_steps"):
        # They are sums of the same numbers, added up in other groups.
        np.testing.assert_allclose([x[name] for x in first], [x[name] for x in second], rtol=1e-14, err_msg=name)


def test_a_stop_in_an_evaluation_saves_the_weights_and_not_their_averages(in_pieces):
    """With their averages in their place, weights and averages of that checkpoint would be the same."""
    directory, _, _ = in_pieces
    reader = tf.train.load_checkpoint(str(directory / "checkpoints" / "ckpt-5"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("ema/")]
    assert names
    path = "ema/layers.S01_steps.Snetwork.Sdense0.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert path in names
    weight = reader.get_tensor("flow/layers/01_steps/network/dense0/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    assert np.abs(weight - reader.get_tensor(path)).max() > 1e-4


def test_a_finished_run_is_only_evaluated(tiny_source, through):
    directory, _, expected = through
    checkpoints = sorted(file.name for file in (directory / "checkpoints").iterdir())
    trainer, result = train(directory, tiny_source, **LONG)
    assert result == expected
    assert trainer.step == 8
    assert [line["step"] for line in lines(directory, "train")] == [3, 6, 8]
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


def test_another_seed_is_another_run(tmp_path, tiny_source, monkeypatch):
    for seed in (0, 1):
        stop_at(monkeypatch, tmp_path / str(seed), tiny_source, 1, seed=seed)
    first, second = (lines(tmp_path / str(seed), "train")[0]["loss"] for seed in (0, 1))
    assert first != second


@pytest.fixture
def poison(monkeypatch):
    """Makes the batches of some steps not finite, while `active()`; the first batch is 0."""

    def poison(bad, active=lambda: True):
        def poisoned(batches, n_bits, seed, *, start_step=0, dtype=tf.float32):
            clean = dequantized(batches, n_bits, seed, start_step=start_step, dtype=dtype)
            if not active():
                return clean

            def wrong(step, batch):
                is_bad = tf.reduce_any(step == tf.constant(bad, tf.int64))
                return {**batch, "x": tf.where(is_bad, np.nan, batch["x"])}

            return clean.enumerate(start_step).map(wrong)

        monkeypatch.setattr(loop, "dequantized", poisoned)

    return poison


def test_a_bad_batch_is_skipped_and_training_goes_on(tmp_path, tiny_source, monkeypatch, poison, capsys):
    """However many steps a call makes, and with a stop right after the bad one."""
    poison([2])
    stop_at(monkeypatch, tmp_path / "apart", tiny_source, 2, log_every=6)
    apart = stop_at(monkeypatch, tmp_path / "apart", tiny_source, 6, log_every=6)
    together = stop_at(monkeypatch, tmp_path / "together", tiny_source, 6, log_every=6, steps_per_call=4)
    assert_same_weights(apart, together)
    assert all(np.isfinite(v).all() for v in apart.flow.trainable_variables)
    for run in ("apart", "together"):
        (line,) = lines(tmp_path / run, "train")
        assert (line["step"], line["skipped_steps"]) == (6, 1)
        assert np.isfinite([line["loss"], line["gradient_norm"]]).all()
    assert [int(v) for v in (apart.state.skipped, apart.state.skipped_in_a_row, apart.state.rollbacks)] == [1, 0, 0]
    skipped = [line for line in capsys.readouterr().err.splitlines() if "update skipped" in line]
    assert len(skipped) == 2
    assert all(line.startswith("step 3: ") and "the batch itself" in line for line in skipped)


def test_bad_batches_in_a_row_lead_back_to_a_checkpoint(tmp_path, tiny_source, monkeypatch, poison, capsys):
    """With a checkpoint every step: none is written in a streak. Here what was wrong is gone the second time."""
    trainers = []

    class Kept(loop.Guard):
        """Shows the state by which the batches become good again."""

        def __init__(self, flow, state, *others):
            super().__init__(flow, state, *others)
            trainers.append(state)

    monkeypatch.setattr(loop, "Guard", Kept)
    poison([4, 5, 6], active=lambda: not trainers or int(trainers[-1].rollbacks) == 0)
    fields = {"checkpoint_every": 1, "keep_checkpoints": 9, "max_skipped": 3, "warmup_steps": 0}
    trainer = stop_at(monkeypatch, tmp_path, tiny_source, 9, **fields, steps=20)
    text = capsys.readouterr().err
    assert "(3 in a row, 3 in all)" in text
    # Step 4 is the last good one; 5 and 6 are within the streak, and 7 ends it.
    assert f"Back to step 4 ({tmp_path}/checkpoints/ckpt-4), with 0.5 times the learning rate." in text
    assert all(np.isfinite(v).all() for v in trainer.flow.trainable_variables)
    assert [int(v) for v in (trainer.state.skipped, trainer.state.skipped_in_a_row, trainer.state.rollbacks)] == [
        3,
        0,
        1,
    ]
    logged = lines(tmp_path, "train")
    assert [line["step"] for line in logged] == list(range(1, 10))
    assert [round(line["learning_rate"], 6) for line in logged] == [0.01] * 4 + [0.005] * 5
    assert [line["skipped_steps"] for line in logged] == [0] * 4 + [3] * 5

    # The lower rate outlives the process.
    again = stop_at(monkeypatch, tmp_path, tiny_source, 10, **fields, steps=20)
    assert round(lines(tmp_path, "train")[-1]["learning_rate"], 6) == 0.005
    assert int(again.state.rollbacks) == 1


def test_what_stays_bad_ends_the_run(tmp_path, tiny_source, poison):
    poison([3, 4])
    with pytest.raises(DivergenceError, match="At step 5 .* 2 times in a row, after 1 returns.*the batch itself"):
        train(tmp_path, tiny_source, checkpoint_every=2, max_skipped=2, max_rollbacks=1)
    # The checkpoint to go on from is a good one.
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "ckpt-2"))
    floats = [reader.get_tensor(n) for n, t in reader.get_variable_to_dtype_map().items() if t == tf.float32]
    assert floats and all(np.isfinite(values).all() for values in floats)
    assert not (tmp_path / "checkpoints" / "ckpt-4.index").exists()


def test_the_best_evaluation_is_known_after_a_kill(tmp_path, tiny_source, monkeypatch):
    """Checkpoint and evaluation of one step, of which the process saw the end: a worse one must not take its place."""
    fields = {"checkpoint_every": 3, "eval_every": 3, "steps": 20}
    stop_at(monkeypatch, tmp_path, tiny_source, 4, **fields)
    # As a process leaves it that is killed instead of told to stop.
    for file in (tmp_path / "checkpoints").glob("ckpt-4.*"):
        file.unlink()
    again = stop_at(monkeypatch, tmp_path, tiny_source, 5, **fields)
    (line,) = lines(tmp_path, "test")
    assert int(again.state.best_step) == line["step"] == 3
    assert float(again.state.best_bits_per_dim) == line["bits_per_dim"]
    assert storage.load(tmp_path / "best").initialized


def test_changed_settings_are_told(tmp_path, tiny_source, monkeypatch, capsys):
    stop_at(monkeypatch, tmp_path, tiny_source, 1)
    stop_at(monkeypatch, tmp_path, tiny_source, 2, learning_rate=5e-3, log_every=2)
    text = capsys.readouterr().err
    assert f"Continuing at step 1 from {tmp_path}/checkpoints/ckpt-1." in text
    assert "Not as before: learning_rate: 0.01 before, 0.005 now." in text
    assert text.count("Not as before") == 1


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(tmp_path, tiny_source, monkeypatch, capsys):
    trainer = stop_at(monkeypatch, tmp_path, tiny_source, 3, checkpoint_every=2)
    file = tmp_path / "checkpoints" / "ckpt-3.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:100])
    again = stop_at(monkeypatch, tmp_path, tiny_source, 3, checkpoint_every=2)
    text = capsys.readouterr().err
    assert f"{tmp_path}/checkpoints/ckpt-3 is damaged: " in text
    assert f"Continuing at step 2 from {tmp_path}/checkpoints/ckpt-2." in text
    assert_same_weights(trainer, again)
    assert [line["step"] for line in lines(tmp_path, "train")] == [1, 2, 3]


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, source):
    larger = glow_tf.glow((16, 16, 3), K=1, L=1, width=4)
    with pytest.raises(ValueError, match=r"\(8, 8, 3\).*\(16, 16, 3\)"):
        Trainer(larger, training(), source, tmp_path / "a", ONE_DEVICE)
    with pytest.raises(ValueError, match="--batch_size=7 .* multiple of 2"):
        Trainer(helpers.CONFIG, training(batch_size=7), source, tmp_path / "a", helpers.two_replicas())
    with pytest.raises(ValueError, match=r"--batch_size=12 .* multiple of 2 \* --accumulate_steps=4"):
        config = training(batch_size=12, accumulate_steps=4)
        Trainer(helpers.CONFIG, config, source, tmp_path / "a", helpers.two_replicas())
    assert not (tmp_path / "a").exists()


def test_a_directory_of_another_model_is_refused(source, tiny_source, through):
    with pytest.raises(ValueError, match="another model"):
        Trainer(helpers.CONFIG, training(), source, through[0], ONE_DEVICE)
    with pytest.raises(ValueError, match="another optimizer"):
        Trainer(helpers.TINY, training(optimizer="adam"), tiny_source, through[0], ONE_DEVICE)


def test_a_run_begins_with_the_weights_of_another_model(tmp_path, tiny_source):
    other = glow_tf.Flow(helpers.TINY, seed=5)
    other.initialize(helpers.random_images(16, helpers.TINY))
    storage.save(other, tmp_path / "other")
    fields = training(steps=2, init_from=str(tmp_path / "other"), learning_rate=1e-20)
    Trainer(helpers.TINY, fields, tiny_source, tmp_path / "still", ONE_DEVICE).run()
    assert checkpoint_equals(tmp_path / "still/checkpoints/ckpt-2", other)
    fields = training(steps=2, init_from=str(tmp_path / "other"))
    Trainer(helpers.TINY, fields, tiny_source, tmp_path / "run", ONE_DEVICE).run()
    assert not checkpoint_equals(tmp_path / "run/checkpoints/ckpt-2", other)
    # Once it has begun, it goes on by itself, whatever became of the other model.
    again = training(steps=3, init_from=str(tmp_path / "gone"))
    Trainer(helpers.TINY, again, tiny_source, tmp_path / "run", ONE_DEVICE).run()


def checkpoint_equals(prefix, flow):
    reader = tf.train.load_checkpoint(str(prefix))
    names = {path: f"flow/{path}/.ATTRIBUTES/VARIABLE_VALUE" for path in flow.named_variables()}
    values = flow.named_variables()
    return all(np.allclose(reader.get_tensor(name), values[path], rtol=0, atol=1e-15) for path, name in names.items())


def test_weights_of_a_model_that_is_another_or_not_there(tmp_path, tiny_source):
    storage.save(glow_tf.Flow(helpers.CONFIG), tmp_path / "other")
    for name, error, message in (
        ("other", ValueError, "--init_from=.*other is another model"),
        ("nowhere", FileNotFoundError, "nowhere is no model directory"),
    ):
        fields = training(init_from=str(tmp_path / name))
        with pytest.raises(error, match=message):
            Trainer(helpers.TINY, fields, tiny_source, tmp_path / "run", ONE_DEVICE).run()
    assert not list((tmp_path / "run").glob("checkpoints/*"))
