"""Checkpoints of a training run: saving, restoring, and handling of damaged files."""

import gc
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.models import storage
from glow_tf.training.checkpoints import CheckpointError, Checkpoints
from glow_tf.training.optimizer import steps_made
from glow_tf.training.state import RunState, TrainingState
from tests.syncs import record_syncs
from tests.training import helpers
from tests.training.helpers import Parts


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def stems(directory):
    return {file.stem for file in (directory / storage.CHECKPOINTS).glob("ckpt-*.index")}


def file_of(directory, step, kind):
    return directory / storage.CHECKPOINTS / f"ckpt-{step}.{kind}"


def test_all_of_the_state_comes_back(tmp_path):
    parts = Parts(tmp_path)
    parts.advance()
    saved = parts.save(3)
    again = Parts(tmp_path, seed=2)
    assert again.checkpoints.latest_step == 3
    path, damaged = again.checkpoints.restore()
    assert (path, damaged) == (str(tmp_path / "checkpoints" / "ckpt-3"), [])
    assert_same(again.values(), saved)
    assert steps_made(again.optimizer) == 2
    assert again.flow.initialized
    # Not merely equal lists: each counter is in its own place.
    assert (int(again.state.step), int(again.state.skipped), int(again.state.rollbacks)) == (2, 4, 0)
    assert float(again.state.totals["steps"]) == 6
    assert 0 < float(again.optimizer.schedule.factor) < 1

    storage.save_config(helpers.TINY, tmp_path)
    raw, ema = (storage.load(tmp_path, weights=weights).named_variables(trainable=True) for weights in ("raw", "ema"))
    for i, path in enumerate(parts.flow.named_variables(trainable=True)):
        np.testing.assert_array_equal(raw[path], parts.variables[i])
        np.testing.assert_array_equal(ema[path], parts.optimizer.averages[i])
    assert any(np.any(raw[path] != ema[path]) for path in raw)


def test_checkpoints_of_earlier_versions_lack_some_counters(tmp_path):
    parts = Parts(tmp_path)
    saved = parts.save(3)
    parts.state.since_best.assign(5)
    old = parts.whole_state.checkpoint(without=("best_requested", "since_best"))
    tf.train.CheckpointManager(old, str(tmp_path / "checkpoints"), max_to_keep=2).save(checkpoint_number=4)
    again = Parts(tmp_path, seed=2)
    path, damaged = again.checkpoints.restore()
    assert path.endswith("ckpt-4") and not damaged
    assert_same(again.values(), saved)
    assert (int(again.state.since_best), int(again.state.best_requested)) == (0, 0)
    # Once saved again, they are there.
    again.state.since_best.assign(2)
    again.checkpoints.save(5)
    assert parts.checkpoints.restore()[0].endswith("ckpt-5")
    assert int(parts.state.since_best) == 2


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    parts = Parts(tmp_path)
    for step in (1, 2):
        parts.save(step)
    saved = parts.save(2)
    assert stems(tmp_path) == {"ckpt-1", "ckpt-2"}
    again = Parts(tmp_path, seed=2)
    assert again.checkpoints.restore() == (str(tmp_path / "checkpoints" / "ckpt-2"), [])
    assert_same(again.values(), saved)
    # By a process that has saved nothing before, too; and it counts once among those that are kept.
    saved = again.save(2)
    parts = Parts(tmp_path)
    parts.checkpoints.restore()
    assert_same(parts.values(), saved)
    parts.save(3)
    assert stems(tmp_path) == {"ckpt-2", "ckpt-3"}
    names = {file.name for file in (tmp_path / "checkpoints").iterdir()}
    files = {f"ckpt-{step}.{kind}" for step in (2, 3) for kind in ("index", "data-00000-of-00001")}
    assert names == {"checkpoint", *files}


def test_a_checkpoint_is_on_the_disk_before_earlier_ones_are_deleted(tmp_path, monkeypatch):
    parts = Parts(tmp_path, keep_checkpoints=1)
    parts.save(1)
    synced = record_syncs(monkeypatch, tmp_path)
    parts.save(2)
    assert {name for name, _ in synced} == {"ckpt-2.index", "ckpt-2.data-00000-of-00001", "checkpoints"}
    assert all("ckpt-1.index" in there for _, there in synced)
    assert stems(tmp_path) == {"ckpt-2"}


def test_a_checkpoint_is_on_the_disk_before_it_replaces_another(tmp_path, monkeypatch):
    parts = Parts(tmp_path)
    parts.save(1)
    before = {file.stat().st_ino for file in (tmp_path / "checkpoints").glob("ckpt-1.*")}
    synced = record_syncs(monkeypatch, tmp_path)
    parts.save(1)
    (*written, last) = [name for name, _ in synced]
    assert {"ckpt-1.index", "ckpt-1.data-00000-of-00001"} <= set(written) and last == "checkpoints"
    assert all(any(name.endswith("_temp") for name in there) for _, there in synced[:-1])
    assert before.isdisjoint(file.stat().st_ino for file in (tmp_path / "checkpoints").glob("ckpt-1.*"))


def test_a_replacement_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    parts = Parts(tmp_path)
    saved = parts.save(1)

    def fail(checkpoint, path):
        pathlib.Path(f"{path}.data-00000-of-00001").write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, f"{path}.data-00000-of-00001; No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.Checkpoint, "write", fail)
        with pytest.raises(CheckpointError, match="No space left on device. The checkpoint of step 1 is untouched"):
            parts.save(1)
    names = {file.name for file in (tmp_path / "checkpoints").iterdir()}
    assert names == {"checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"}
    again = Parts(tmp_path, seed=2)
    assert again.checkpoints.restore() == (str(tmp_path / "checkpoints" / "ckpt-1"), [])
    assert_same(again.values(), saved)


def test_nothing_to_restore(tmp_path):
    parts = Parts(tmp_path / "new")
    assert parts.checkpoints.latest_step is None
    assert parts.checkpoints.restore() == (None, [])
    assert not (tmp_path / "new").exists()


def test_only_the_newest_are_kept(tmp_path):
    parts = Parts(tmp_path)
    for step in (1, 5, 20):
        parts.save(step)
    assert stems(tmp_path) == {"ckpt-5", "ckpt-20"}
    assert parts.checkpoints.latest_step == 20


def test_some_are_kept_by_time(tmp_path):
    parts = Parts(tmp_path, keep_checkpoints=1, keep_every_hours=1e-9)
    for step in range(1, 5):
        parts.save(step)
    assert stems(tmp_path) == {"ckpt-1", "ckpt-2", "ckpt-3", "ckpt-4"}


def test_rotation_goes_on_over_restarts(tmp_path):
    """Each checkpoint is written by another process, as on preemptible machines."""
    for step in range(1, 6):
        parts = Parts(tmp_path)
        parts.checkpoints.restore()
        parts.save(step)
    assert stems(tmp_path) == {"ckpt-4", "ckpt-5"}


def test_those_kept_by_time_stay_and_others_go_on_being_deleted_over_restarts(tmp_path):
    """Three are kept permanently, then come restarts within the hours until the next one."""
    parts = Parts(tmp_path, keep_checkpoints=1, keep_every_hours=1e-9)
    for step in range(1, 5):
        parts.save(step)
    for step in range(5, 9):
        Parts(tmp_path, keep_checkpoints=1, keep_every_hours=24.0).save(step)
    assert stems(tmp_path) == {"ckpt-1", "ckpt-2", "ckpt-3", "ckpt-8"}


@pytest.mark.parametrize("list_file", ["missing", "empty", "garbage", "behind"])
def test_a_damaged_list_of_checkpoints_does_no_harm(tmp_path, list_file):
    """The list is a separate file; only the checkpoints themselves count."""
    parts = Parts(tmp_path)
    parts.save(1)
    file = tmp_path / "checkpoints" / "checkpoint"
    before = file.read_bytes()
    saved = parts.save(2)
    if list_file == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "garbage": bytes(range(128, 192)), "behind": before}[list_file])
    again = Parts(tmp_path, seed=2)
    path, damaged = again.checkpoints.restore()
    assert path.endswith("ckpt-2") and not damaged
    assert_same(again.values(), saved)
    again.save(3)
    assert stems(tmp_path) == {"ckpt-2", "ckpt-3"}
    assert tf.train.latest_checkpoint(tmp_path / "checkpoints").endswith("ckpt-3")


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


DAMAGE = {
    "data cut short": ("data-00000-of-00001", truncate),
    "data empty": ("data-00000-of-00001", lambda file: file.write_bytes(b"")),
    "data altered": ("data-00000-of-00001", flip_a_byte),
    "data missing": ("data-00000-of-00001", lambda file: file.unlink()),
    "index cut short": ("index", truncate),
    "index empty": ("index", lambda file: file.write_bytes(b"")),
    "index garbage": ("index", lambda file: file.write_bytes(bytes(range(256)) * 8)),
    "index altered": ("index", flip_a_byte),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path, kind):
    parts = Parts(tmp_path)
    first = parts.save(1)
    parts.save(2)
    suffix, damage = DAMAGE[kind]
    damage(file_of(tmp_path, 2, suffix))
    again = Parts(tmp_path, seed=2)
    path, (line,) = again.checkpoints.restore()
    assert path.endswith("ckpt-1")
    assert "ckpt-2 is damaged: " in line and "\n" not in line and len(line) < 600
    assert_same(again.values(), first)
    folder = tmp_path / "checkpoints"
    assert stems(tmp_path) == {"ckpt-1"} and again.checkpoints.latest_step == 1
    assert {file.name for file in folder.glob("ckpt-2*")} <= {
        "ckpt-2.index.damaged",
        "ckpt-2.data-00000-of-00001.damaged",
    }
    assert (folder / "ckpt-2.index.damaged").exists()

    saved = again.save(2)
    path, damaged = parts.checkpoints.restore()
    assert path.endswith("ckpt-2") and not damaged
    assert_same(parts.values(), saved)
    # The second time, files of the same names are in the way.
    damage(file_of(tmp_path, 2, suffix))
    path, (line,) = Parts(tmp_path).checkpoints.restore()
    assert path.endswith("ckpt-1") and "ckpt-2 is damaged" in line


def test_one_that_has_lost_its_index_is_named_and_the_one_before_taken(tmp_path):
    parts = Parts(tmp_path)
    first = parts.save(1)
    parts.save(2)
    file_of(tmp_path, 2, "index").unlink()
    again = Parts(tmp_path, seed=2)
    path, (line,) = again.checkpoints.restore()
    assert path.endswith("ckpt-1")
    assert "ckpt-2.index, is gone" in line and "\n" not in line
    assert_same(again.values(), first)
    again.save(3)
    assert file_of(tmp_path, 2, "data-00000-of-00001.damaged").exists()


def test_the_only_one_that_has_lost_its_index_is_not_begun_anew(tmp_path):
    Parts(tmp_path).save(1)
    file_of(tmp_path, 1, "index").unlink()
    with pytest.raises(ValueError, match=r"No checkpoint .* can be read(.|\n)*ckpt-1\.index, is gone"):
        Parts(tmp_path).checkpoints.restore()
    assert file_of(tmp_path, 1, "data-00000-of-00001").exists()


def test_all_damaged(tmp_path):
    parts = Parts(tmp_path)
    for step in (1, 2):
        parts.save(step)
        truncate(file_of(tmp_path, step, "data-00000-of-00001"))
    with pytest.raises(ValueError, match="No checkpoint .* can be read") as error:
        Parts(tmp_path).checkpoints.restore()
    message = str(error.value)
    assert "ckpt-1 is damaged" in message and "ckpt-2 is damaged" in message
    # Nothing is renamed: a backup of a single file may be put in its place.
    assert stems(tmp_path) == {"ckpt-1", "ckpt-2"}


def test_another_worker_may_rename_what_is_damaged_first(tmp_path, monkeypatch):
    parts = Parts(tmp_path)
    saved = parts.save(1)
    parts.save(2)
    truncate(file_of(tmp_path, 2, "data-00000-of-00001"))
    rename = pathlib.Path.replace

    def after_another(file, target):
        rename(file, target)
        return rename(file, target)

    monkeypatch.setattr(pathlib.Path, "replace", after_another)
    again = Parts(tmp_path)
    path, damaged = again.checkpoints.restore()
    assert path.endswith("ckpt-1") and len(damaged) == 1
    assert_same(again.values(), saved)


def test_what_an_unfinished_write_leaves_is_removed(tmp_path):
    parts = Parts(tmp_path)
    saved = parts.save(1)
    folder = tmp_path / "checkpoints"
    (folder / "ckpt-7_temp").mkdir()
    (folder / "ckpt-7_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    (folder / "ckpt-6.data-00000-of-00001").write_bytes(b"half")
    (folder / "ckpt-5.index.tempstate123").write_bytes(b"half")
    (folder / "ckpt-4.data-00000-of-00001.damaged").write_bytes(b"for people to look at")
    (folder / "ckpt-3 (copy).data-00000-of-00001").write_bytes(b"somebody's copy")
    again = Parts(tmp_path)
    path, damaged = again.checkpoints.restore()
    assert path.endswith("ckpt-1") and not damaged
    assert_same(again.values(), saved)
    again.save(2)
    assert {file.name for file in folder.iterdir()} == {
        "checkpoint",
        *(f"ckpt-{step}.{kind}" for step in (1, 2) for kind in ("index", "data-00000-of-00001")),
        "ckpt-4.data-00000-of-00001.damaged",
        "ckpt-3 (copy).data-00000-of-00001",
    }


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        ({}, {"optimizer": "adam"}),
        ({"optimizer": "adam"}, {}),
        ({"ema_decay": 0.0}, {}),
        ({}, {"config": glow_tf.nice((4, 4, 3), K=2, width=9, blocks=1, n_bits=5)}),
        ({}, {"config": glow_tf.nice((4, 4, 3), K=3, width=8, blocks=1, n_bits=5)}),
        ({}, {"config": helpers.CONFIG}),
        ({"config": glow_tf.nice((4, 4, 3), K=2, width=8, blocks=2, n_bits=5)}, {}),
    ],
)
def test_what_does_not_fit_is_refused_and_not_taken_for_damage(tmp_path, saved, other, monkeypatch):
    warnings = []
    monkeypatch.setattr(tf.get_logger(), "handle", warnings.append)
    Parts(tmp_path, **saved).save(1)
    with pytest.raises(ValueError, match="ckpt-1 does not fit.*with other settings") as error:
        Parts(tmp_path, **other).checkpoints.restore()
    assert len(str(error.value)) < 1000
    # TensorFlow warns about each variable once its last reference to the checkpoint is gone.
    del error
    gc.collect()
    assert warnings == []
    assert stems(tmp_path) == {"ckpt-1"}


@pytest.mark.parametrize("kind", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("refuse", [pathlib.Path.mkdir, lambda file: file.symlink_to("/proc/self/mem")])
def test_what_the_system_refuses_to_read_is_not_taken_for_damage(tmp_path, kind, refuse):
    """A folder is in the place of a file, or a file whose reading is an I/O error."""
    parts = Parts(tmp_path)
    parts.save(1)
    saved = parts.save(2)
    file, elsewhere = file_of(tmp_path, 2, kind), tmp_path / "elsewhere"
    file.rename(elsewhere)
    refuse(file)
    if file.is_symlink() and not file.exists():
        pytest.skip("no /proc here")
    with pytest.raises(CheckpointError, match="ckpt-2 cannot be read, and is left as it is: ") as error:
        Parts(tmp_path).checkpoints.restore()
    assert "\n" not in str(error.value) and "same command" in str(error.value)
    elsewhere.replace(file) if file.is_symlink() else (file.rmdir(), elsewhere.rename(file))
    again = Parts(tmp_path, seed=2)
    path, damaged = again.checkpoints.restore()
    assert path.endswith("ckpt-2") and not damaged
    assert_same(again.values(), saved)


ERRORS = {
    "UnknownError": "/a/ckpt-2.data; Input/output error",
    "UnavailableError": "a",
    "AbortedError": "/a/ckpt-2.data; Stale file handle",
    "DeadlineExceededError": "a",
    "PermissionDeniedError": "/a/ckpt-2.data; Permission denied",
    "ResourceExhaustedError": "OOM when allocating tensor with shape[3]",
    "InternalError": "Failed copying input tensor: Dst tensor is not initialized.",
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_that_are_no_damage(tmp_path, monkeypatch, name):
    def fail(*arguments):
        raise getattr(tf.errors, name)(None, None, ERRORS[name])

    parts = Parts(tmp_path)
    for step in (1, 2):
        parts.save(step)
    monkeypatch.setattr(tf.train.Checkpoint, "restore", fail)
    with pytest.raises(CheckpointError, match="ckpt-2 cannot be read") as error:
        parts.checkpoints.restore()
    assert ("Free some memory" in str(error.value)) == (name in ("ResourceExhaustedError", "InternalError"))
    assert stems(tmp_path) == {"ckpt-1", "ckpt-2"}


@pytest.mark.slow
def test_a_checkpoint_of_two_replicas_is_continued_by_one(tmp_path):
    training = helpers.training()
    two = helpers.Run(training, helpers.TINY, strategy=helpers.two_replicas())
    two(2)
    Checkpoints(tmp_path, TrainingState(two.flow, two.optimizer, RunState(["loss"])), training).save(2)
    one = Parts(tmp_path)
    one.checkpoints.restore()
    assert_same([v.numpy() for v in one.variables], two.weights())
    assert steps_made(one.optimizer) == 2
    assert one.flow.initialized
