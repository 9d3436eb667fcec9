"""Checks of --output: the files it may replace, and the folders it can be written to."""

import os

import numpy as np
import pytest

from glow_tf.commands import outputs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("notes.png", "notes.md", "notes.json", "notes.svg", "notes.csv"):
        (tmp_path / name).write_text("milk, eggs")
    (tmp_path / "table.md").write_text("| attribute | added |\n")
    np.savez(tmp_path / "a.npz", names=np.zeros(1), vectors=np.zeros(1))
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path


@pytest.mark.parametrize("path", ["new/folders/a.PNG", "./a.jpg", "table.md", "a.npz", "plots/a.svg", "{folder}/a.gif"])
def test_what_can_be_written_is_taken(folder, path):
    path = path.format(folder=folder)
    suffixes = (".png", ".jpg", ".md", ".npz", ".svg", ".gif")
    assert outputs.suffix_of(path, suffixes, arrays=["names", "vectors"]) == path[path.rindex(".") :].lower()
    # Checking writes nothing.
    assert not (folder / "new").exists()


@pytest.mark.parametrize("path", ["plots", "plots/", "plots.png", "new", "new/folder/"])
def test_folders_are_taken_where_they_are_meant(folder, path):
    assert outputs.suffix_of(path, (".png",), folders=True) == ""
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.webp", "--output=a.webp must end with .png"),
        ("a", "--output=a must end with .png"),
        ("plots", "--output=plots is a folder"),
        ("plots.png", "--output=plots.png is a folder"),
        ("new/", "--output=new/ is a folder"),
        *(
            (f"notes{suffix}", f"is there and is no {suffix} file")
            for suffix in (".png", ".md", ".json", ".svg", ".csv")
        ),
        ("pipe.png", "is there and is no .png file"),
        ("a.npz", "is there and is no .npz file"),
        ("notes.png/a.png", "cannot be written: notes.png is not a folder"),
        ("notes.png/new/a.png", "cannot be written: notes.png is not a folder"),
    ],
)
def test_what_cannot_is_refused(folder, path, message):
    suffixes = (".png", ".md", ".json", ".svg", ".csv", ".npz")
    with pytest.raises(ValueError, match=message):
        outputs.suffix_of(path, suffixes, arrays=["names", "vectors", "positives"])


def test_the_flag_is_named(folder):
    with pytest.raises(ValueError, match="^--plot=notes.png is there"):
        outputs.suffix_of("notes.png", outputs.PLOTS, flag="plot")


@pytest.fixture
def no_rights():
    """Takes root's rights from `os.access`, which goes by the real user and not the effective one."""
    is_root = os.getuid() == 0
    if is_root:
        os.setresuid(65534, -1, -1)
    yield
    if is_root:
        os.setresuid(0, -1, -1)


def test_read_only_folders_are_refused(folder, no_rights):
    (folder / "plots").chmod(0o555)
    with pytest.raises(ValueError, match="--output=plots/a.png cannot be written: plots is a read-only folder"):
        outputs.suffix_of("plots/a.png", (".png",))
    with pytest.raises(ValueError, match="--output=plots/new cannot be written: plots is a read-only folder"):
        outputs.check_writable("plots/new", "plots/new")
    assert outputs.suffix_of("/tmp/a.png", (".png",)) == ".png"
