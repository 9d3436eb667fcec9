"""Files that are written atomically."""

import pytest

from glow_tf.runtime.files import atomic_write, temporary_path
from tests.syncs import record_syncs


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(OSError, match="disk full"), atomic_write(path) as temporary:
        temporary.write_text("sec")
        raise OSError("disk full")
    assert path.read_text() == "first"
    # A killed process leaves this behind.
    temporary_path(path).write_text("thi")
    with atomic_write(path) as temporary:
        temporary.write_text("fourth")
    assert path.read_text() == "fourth"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_the_new_file_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")
    synced = record_syncs(monkeypatch, tmp_path)
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    unfinished = temporary_path(path).name
    assert synced == [(unfinished, {tmp_path.name, unfinished, "file.txt"})]
