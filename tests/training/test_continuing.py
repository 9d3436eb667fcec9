"""Runs that are stopped, killed or changed, and continued."""

import dataclasses
import json
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.data import DataError, Source, load_source
from glow_tf.models import storage
from glow_tf.training import lock, loop
from glow_tf.training.loop import Trainer
from glow_tf.training.signals import TrainingStopped
from tests.training import helpers
from tests.training.runs import LONG, ONE_DEVICE, assert_same_weights, lines, stop_at, train, training

pytestmark = pytest.mark.usefixtures("untraced", "short_timing")


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory, tiny_source):
    """The same run with another number of steps per call, stopped at step 4, within a logging period, and again in the
    evaluation at step 5, when averages are in place of the weights."""
    directory = tmp_path_factory.mktemp("pieces")
    with pytest.MonkeyPatch.context() as patch:
        stopped = stop_at(patch, directory, tiny_source, 4, **LONG)
        assert stopped.step == 4
        handlers = signal.getsignal(signal.SIGTERM)

        class Evaluation(loop.Reports):
            """Reports in whose evaluations SIGINT arrives."""

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
    # The interrupted evaluation is made again, and every other one once.
    first, second = (
        [{name: value for name, value in line.items() if name != "time"} for line in lines(run[0], "test")]
        for run in (through, in_pieces)
    )
    assert [line["step"] for line in first] == [5, 8]
    assert first == second
    assert (int(trainer.run_state.best_step), trainer.run_state.best_bits_per_dim.numpy()) == (
        int(again.run_state.best_step),
        again.run_state.best_bits_per_dim.numpy(),
    )


def test_logged_numbers_depend_neither_on_calls_nor_on_stops(through, in_pieces):
    first, second = (lines(run[0], "train") for run in (through, in_pieces))
    assert [line["step"] for line in first] == [line["step"] for line in second] == [3, 6, 8]
    for name in ("loss", "bits_per_dim", "gradient_norm", "learning_rate", "skipped_steps"):
        # They are sums of the same numbers, grouped differently.
        np.testing.assert_allclose([x[name] for x in first], [x[name] for x in second], rtol=1e-14, err_msg=name)


def test_a_stop_before_the_first_update_saves_the_initial_weights(tmp_path, tiny_source, through, monkeypatch):
    class Signalled(loop.Reports):
        """Reports at whose beginning a signal arrives."""

        def begin(self, *arguments):
            signal.raise_signal(signal.SIGTERM)
            super().begin(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Reports", Signalled)
        with pytest.raises(TrainingStopped, match="at step 0, whose checkpoint is written"):
            train(tmp_path, tiny_source, **LONG)
    first = glow_tf.Flow(helpers.TINY, training().seed).named_variables(trainable=True)
    loaded, raw = (storage.load(tmp_path, weights=weights).named_variables() for weights in ("ema", "raw"))
    for path, variable in first.items():
        np.testing.assert_array_equal(loaded[path], raw[path], err_msg=path)
        if path.endswith("kernel"):
            np.testing.assert_array_equal(loaded[path], variable, err_msg=path)
    again, _ = train(tmp_path, tiny_source, **LONG)
    assert_same_weights(again, through[1])


def test_a_stop_in_an_evaluation_saves_the_weights_and_not_their_averages(in_pieces):
    """If the averages were saved in their place, the weights and averages of that checkpoint would be the same."""
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


def test_the_checkpoint_of_a_stopped_run_is_written_while_no_other_can_begin(tmp_path, tiny_source, monkeypatch):
    saved = []

    class Checkpoints(loop.Checkpoints):
        def save(self, step):
            with pytest.raises(lock.DirectoryInUseError), lock.held(tmp_path):
                pass
            saved.append(step)
            return super().save(step)

    monkeypatch.setattr(loop, "Checkpoints", Checkpoints)
    stop_at(monkeypatch, tmp_path, tiny_source, 2)
    assert saved == [2]


def test_the_evaluation_at_the_end_is_known_when_the_run_goes_on(tmp_path, tiny_source):
    fields = {"eval_every": 3, "eval_images": 0}
    first, result = train(tmp_path, tiny_source, steps=4, **fields)
    assert int(first.run_state.best_step) == 4, "this test needs a last evaluation that is the best"
    # A learning rate that makes every later evaluation worse.
    again, _ = train(tmp_path, tiny_source, steps=7, learning_rate=10.0, **fields)
    assert [line["step"] for line in lines(tmp_path, "test")] == [3, 4, 6, 7]
    assert lines(tmp_path, "test")[1]["bits_per_dim"] == result.mean
    assert (int(again.run_state.best_step), float(again.run_state.best_bits_per_dim)) == (4, result.mean)
    assert {file.stem for file in (tmp_path / "best" / "checkpoints").glob("*.index")} == {"ckpt-4"}


@pytest.fixture
def losing(monkeypatch, tiny_source):
    """Returns a source whose images of a split can no longer be read once a step is made."""

    def losing(step, lost_split):
        lost = threading.Event()
        if not step:
            lost.set()

        class Losing(loop.Progress):
            def update(self, reached, *numbers):
                super().update(reached, *numbers)
                if reached >= step:
                    lost.set()

        def reader(split):
            read = tiny_source.readers[split]
            return lambda index: None if split == lost_split and lost.is_set() else read(index)

        monkeypatch.setattr(loop, "Progress", Losing)
        # Small blocks, so that few batches are read in advance.
        monkeypatch.setattr(Source, "block_size", 8)
        return dataclasses.replace(tiny_source, readers={split: reader(split) for split in tiny_source.readers})

    return losing


def test_if_the_training_images_are_lost_the_steps_made_are_saved(tmp_path, tiny_source, losing, monkeypatch):
    fields = {"steps": 300, "log_every": 300}
    trainer = Trainer(helpers.TINY, training(**fields, steps_per_call=7), losing(2, "train"), tmp_path, ONE_DEVICE)
    with pytest.raises(DataError, match="none of the 40 train images of arrays can be read") as error:
        trainer.run()
    step = trainer.step
    assert step >= 2
    assert str(error.value).endswith(f"The run can go on from step {step:,}, with the same command.")
    assert (tmp_path / "checkpoints" / f"ckpt-{step}.index").exists()
    assert json.loads((tmp_path / "run.json").read_text())["starts"][-1]["to_step"] == step
    # Its weights are those of a run that was stopped there, even if that was in the middle of a call.
    assert_same_weights(trainer, stop_at(monkeypatch, tmp_path / "stopped", tiny_source, step, **fields))


def test_steps_made_after_a_skipped_one_are_saved_too(tmp_path, tiny_source, monkeypatch, poison):
    """The call that fails begins after the skipped step 2, and uses the batches that were read in advance."""
    lost, read = threading.Event(), tiny_source.readers["train"]

    class Losing(loop.Guard):
        def after(self, *arguments):
            back = super().after(*arguments)
            lost.set()
            return back

    monkeypatch.setattr(loop, "Guard", Losing)
    monkeypatch.setattr(Source, "block_size", 8)
    poison([1])
    readers = {**tiny_source.readers, "train": lambda index: None if lost.is_set() else read(index)}
    source = dataclasses.replace(tiny_source, readers=readers)
    # In one call, however slow the machine.
    monkeypatch.setattr(loop, "_SECONDS_PER_CALL", 1000.0)
    fields = training(steps=300, log_every=300, steps_per_call=300)
    trainer = Trainer(helpers.TINY, fields, source, tmp_path, ONE_DEVICE)
    with pytest.raises(DataError, match="none of the 40 train images of arrays can be read"):
        trainer.run()
    assert trainer.step > 2 and int(trainer.run_state.skipped) == 1
    assert (tmp_path / "checkpoints" / f"ckpt-{trainer.step}.index").exists()


def test_if_the_held_out_images_are_lost_the_steps_made_are_saved(tmp_path, losing):
    fields = training(steps=5, eval_every=3)
    with pytest.raises(DataError, match="There are no images to evaluate on. The run can go on from step 3, with"):
        Trainer(helpers.TINY, fields, losing(2, "test"), tmp_path, ONE_DEVICE).run()
    assert (tmp_path / "checkpoints" / "ckpt-3.index").exists()


def test_data_that_are_lost_before_the_first_step_leave_nothing(tmp_path, losing):
    with pytest.raises(DataError, match=r"none of the 40 train images of arrays can be read\.$"):
        Trainer(helpers.TINY, training(), losing(0, "train"), tmp_path, ONE_DEVICE).run()
    assert not list(tmp_path.glob("checkpoints/*"))


def test_the_best_evaluation_is_known_after_a_kill(tmp_path, tiny_source, monkeypatch):
    """Checkpoint and evaluation of a step were both finished: a worse evaluation must not replace that one."""
    fields = {"checkpoint_every": 3, "eval_every": 3, "steps": 20}
    stop_at(monkeypatch, tmp_path, tiny_source, 4, **fields)
    # As left by a process that is killed rather than told to stop.
    for file in (tmp_path / "checkpoints").glob("ckpt-4.*"):
        file.unlink()
    again = stop_at(monkeypatch, tmp_path, tiny_source, 5, **fields)
    (line,) = lines(tmp_path, "test")
    assert int(again.run_state.best_step) == line["step"] == 3
    assert float(again.run_state.best_bits_per_dim) == line["bits_per_dim"]
    assert storage.load(tmp_path / "best").initialized


@pytest.mark.slow
def test_changed_settings_are_told(tmp_path, tiny_source, monkeypatch, capsys):
    stop_at(monkeypatch, tmp_path, tiny_source, 1)
    stop_at(monkeypatch, tmp_path, tiny_source, 2, learning_rate=5e-3, log_every=2)
    text = capsys.readouterr().err
    assert f"Continuing at step 1 from {tmp_path}/checkpoints/ckpt-1." in text
    assert "Changed setting: learning_rate: 0.01 -> 0.005." in text
    assert text.count("Changed setting") == 1


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


def test_on_other_data_the_best_evaluation_is_another(tmp_path, tiny_source):
    before, _ = train(tmp_path / "run", tiny_source, steps=2)
    assert int(before.run_state.best_step) == 2
    path = tmp_path / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, [40, 4, 4, 3], np.uint8)
    np.savez(path, images=images, labels=np.arange(40) % 3)
    other = load_source("arrays", data_dir=str(path), test_size=11)
    again = Trainer(helpers.TINY, training(steps=3), other, tmp_path / "run", ONE_DEVICE, other_data=True)
    # Images of noise have more bits.
    result = again.run()
    assert result.mean > float(before.run_state.best_bits_per_dim)
    assert (int(again.run_state.best_step), float(again.run_state.best_bits_per_dim)) == (3, result.mean)
