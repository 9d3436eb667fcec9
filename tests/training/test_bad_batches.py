"""Non-finite batches in whole runs."""

import signal

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training import loop
from glow_tf.training.checkpoints import Checkpoints
from glow_tf.training.guard import DivergenceError
from glow_tf.training.signals import TrainingStopped
from glow_tf.training.workers import Workers
from tests.training.runs import assert_same_weights, lines, stop_at, train

pytestmark = pytest.mark.usefixtures("short_timing")


def test_a_bad_batch_is_skipped_and_training_goes_on(tmp_path, tiny_source, monkeypatch, poison, capsys):
    """Whatever the number of steps per call, and with a stop right before the bad step."""
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
    state = apart.run_state
    assert [int(v) for v in (state.skipped, state.skipped_in_a_row, state.rollbacks)] == [1, 0, 0]
    skipped = [line for line in capsys.readouterr().err.splitlines() if "update skipped" in line]
    assert len(skipped) == 2
    assert all(line.startswith("step 3: ") and "the batch itself" in line for line in skipped)


@pytest.mark.parametrize(
    ("bad", "step", "kept", "last"),
    [
        ([2, 3], 4, {"ckpt-1", "ckpt-2"}, "the last checkpoint is of step 2"),
        ([0], 1, set(), "there is no checkpoint yet"),
    ],
)
def test_a_stop_while_updates_are_skipped_leaves_the_checkpoint_before(
    tmp_path, tiny_source, monkeypatch, poison, bad, step, kept, last
):
    """A rollback after the run is continued would otherwise lead back to weights that may be the cause."""

    class Signalled(loop.Guard):
        """A guard at whose last skipped step a signal arrives."""

        def after(self, reached, *arguments):
            back = super().after(reached, *arguments)
            if reached == step:
                signal.raise_signal(signal.SIGTERM)
            return back

    monkeypatch.setattr(loop, "Guard", Signalled)
    poison(bad)
    with pytest.raises(TrainingStopped, match=f"Stopped by SIGTERM at step {step}, whose update was skipped; {last}"):
        train(tmp_path, tiny_source, checkpoint_every=2)
    assert {file.stem for file in (tmp_path / "checkpoints").glob("*.index")} == kept


@pytest.mark.slow
def test_compiled_by_xla_too(tmp_path, tiny_source, monkeypatch, poison, capsys):
    """As nothing waits for the device, the steps of a call after a bad one are void, and are made again."""
    poison([2])
    plain = stop_at(monkeypatch, tmp_path / "plain", tiny_source, 6, log_every=6, steps_per_call=4)
    compiled = stop_at(monkeypatch, tmp_path / "xla", tiny_source, 6, log_every=6, steps_per_call=4, xla=True)
    for a, b in zip(compiled.flow.trainable_variables, plain.flow.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for run in ("plain", "xla"):
        (line,) = lines(tmp_path / run, "train")
        assert (line["step"], line["skipped_steps"]) == (6, 1)
    said = capsys.readouterr().err
    assert len([line for line in said.splitlines() if "update skipped" in line]) == 2
    assert said.count("XLA compiles the training step.") == 1


@pytest.mark.slow
def test_bad_batches_in_a_row_lead_back_to_a_checkpoint(tmp_path, tiny_source, monkeypatch, poison, capsys):
    """With a checkpoint every step, none is written within a streak. Here the batches are good the second time."""
    trainers = []

    class Kept(loop.Guard):
        """Exposes the state that decides when the batches are good again."""

        def __init__(self, state, *others, **named):
            super().__init__(state, *others, **named)
            trainers.append(state.run)

    monkeypatch.setattr(loop, "Guard", Kept)
    poison([4, 5, 6], active=lambda: not trainers or int(trainers[-1].rollbacks) == 0)
    fields = {"checkpoint_every": 1, "keep_checkpoints": 9, "max_skipped": 3, "warmup_steps": 0}
    trainer = stop_at(monkeypatch, tmp_path, tiny_source, 9, **fields, steps=20)
    text = capsys.readouterr().err
    assert "(3 in a row, 3 in all)" in text
    # Step 4 is the last good one; 5 and 6 are within the streak, and 7 ends it.
    assert f"Back to step 4 ({tmp_path}/checkpoints/ckpt-4), with 0.5 times the learning rate." in text
    assert all(np.isfinite(v).all() for v in trainer.flow.trainable_variables)
    state = trainer.run_state
    assert [int(v) for v in (state.skipped, state.skipped_in_a_row, state.rollbacks)] == [3, 0, 1]
    logged = lines(tmp_path, "train")
    assert [line["step"] for line in logged] == list(range(1, 10))
    assert [round(line["learning_rate"], 6) for line in logged] == [0.01] * 4 + [0.005] * 5
    assert [line["skipped_steps"] for line in logged] == [0] * 4 + [3] * 5

    # The lower rate outlives the process.
    again = stop_at(monkeypatch, tmp_path, tiny_source, 10, **fields, steps=20)
    assert round(lines(tmp_path, "train")[-1]["learning_rate"], 6) == 0.005
    assert int(again.run_state.rollbacks) == 1


@pytest.mark.usefixtures("untraced")
def test_all_workers_have_read_the_checkpoint_before_it_is_replaced(tmp_path, tiny_source, monkeypatch, poison):
    called = []

    def record(owner, name):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *arguments: called.append(name) or function(*arguments))

    record(Checkpoints, "restore")
    record(Checkpoints, "save")
    record(Workers, "are_equal")
    poison([2], lambda: called.count("restore") < 2)
    train(tmp_path, tiny_source, steps=3, max_skipped=1, checkpoint_every=2)
    # Of the start, step 1, step 2 (to which the run returns), and the end.
    begun, returned = ["restore", "are_equal"], ["restore", "are_equal", "save"]
    assert called == [*begun, "save", "save", *returned, "save", "save"]


@pytest.mark.slow
def test_what_stays_bad_ends_the_run(tmp_path, tiny_source, poison):
    poison([3, 4])
    with pytest.raises(DivergenceError, match="At step 5 .* 2 times in a row, after 1 returns.*the batch itself"):
        train(tmp_path, tiny_source, checkpoint_every=2, max_skipped=2, max_rollbacks=1)
    # The checkpoint to go on from is a good one.
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "ckpt-2"))
    floats = [reader.get_tensor(n) for n, t in reader.get_variable_to_dtype_map().items() if t == tf.float32]
    assert floats and all(np.isfinite(values).all() for values in floats)
    assert not (tmp_path / "checkpoints" / "ckpt-4.index").exists()
    # It knows of the return to it, which a run that is stopped before its next step would otherwise forget.
    assert reader.get_tensor("run/rollbacks/.ATTRIBUTES/VARIABLE_VALUE") == 1
    assert reader.get_tensor("optimizer/learning_rate_factor/.ATTRIBUTES/VARIABLE_VALUE") == 0.5
