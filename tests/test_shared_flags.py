"""Command lines and flagfiles, as editors and people write them."""

import os
import re

import pytest
from absl import flags
from absl.testing import flagsaver

from glow_tf import options, shared_flags
from glow_tf.layers import Layer
from tests.runtime.test_environment import run

FLAGS = "# Größe\n--steps=7\n\n// and\n--model_dir=été\n"


@pytest.fixture(autouse=True)
def defaults():
    saved = flagsaver.save_flag_values()
    yield
    flagsaver.restore_flag_values(saved)


def values(*arguments):
    """The remaining arguments of a command line, and the values of two flags."""
    rest = shared_flags.parse_command_line(["main", *arguments])
    return rest[1:], options.FLAGS.steps, options.FLAGS.model_dir


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_flagfile_of_any_editor(tmp_path, encoding, end):
    (tmp_path / "a.flags").write_bytes(FLAGS.replace("\n", end).encode(encoding))
    assert values(f"--flagfile={tmp_path / 'a.flags'}") == ([], 7, "été")
    assert values("--flagfile", str(tmp_path / "a.flags"), "--steps=8") == ([], 8, "été")
    assert values("--steps=8", f"-flagfile={tmp_path / 'a.flags'}", "x") == (["x"], 7, "été")


def test_comments_and_names_in_another_encoding(tmp_path):
    (tmp_path / "a.flags").write_bytes(b"# Gr\xf6\xdfe\n--steps=7\n--data_dir=caf\xe9\n")
    assert values(f"--flagfile={tmp_path / 'a.flags'}")[1] == 7
    assert os.fsencode(options.FLAGS.data_dir) == b"caf\xe9"


def test_files_that_files_name_come_in_their_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "outer.flags").write_text("--steps=1\n  --flagfile=~/inner.flags  \n--model_dir=outer\n")
    (tmp_path / "inner.flags").write_text("--steps=2\n--model_dir=inner\n", encoding="utf-8-sig")
    assert values("--flagfile=outer.flags") == ([], 2, "outer")
    # Naming the same file twice is not a cycle.
    assert values("--flagfile=outer.flags", "--flagfile=outer.flags") == ([], 2, "outer")


def test_what_follows_two_dashes_is_no_flagfile():
    assert values("--", "--flagfile=nowhere")[0] == ["--flagfile=nowhere"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flagfile=nowhere.flags"], "--flagfile=nowhere.flags cannot be read: No such file"),
        (["--flagfile=folder"], "--flagfile=folder cannot be read: Is a directory"),
        (["--flagfile=names_none.flags"], "--flagfile=missing.flags cannot be read: No such file"),
        (["--flagfile=circle.flags"], "--flagfile=circle.flags includes itself"),
        (["--flagfile=utf-16-le.flags"], "--flagfile=utf-16-le.flags is not text in UTF-8"),
        (["--flagfile="], "--flagfile needs the name of a file"),
        (["--flagfile"], "--flagfile needs the name of a file"),
    ],
)
def test_what_is_wrong_with_a_flagfile_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "names_none.flags").write_text("--flagfile=missing.flags\n")
    (tmp_path / "circle.flags").write_text("--flagfile=circle.flags\n")
    (tmp_path / "utf-16-le.flags").write_text("--steps=7\n", encoding="utf-16-le")
    with pytest.raises(SystemExit) as stop:
        shared_flags.parse_command_line(["main", *arguments])
    error = capsys.readouterr().err
    assert stop.value.code == 1
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_a_list_of_names_that_is_none():
    shared_flags.define_paths("pictures", "Of this test.")
    try:
        with pytest.raises(flags.IllegalFlagValueError, match="--pictures is not a list of names"):
            flags.FLAGS(["main", '--pictures="a.png'])
    finally:
        del flags.FLAGS.pictures


@pytest.mark.slow
def test_programs_read_flagfiles_so(tmp_path):
    (tmp_path / "a.flags").write_text("--model_dir=nowhere\n", encoding="utf-8-sig")
    done = run(tmp_path, "-m", "tools.sample", "--flagfile=a.flags")
    # It writes nothing but its own line.
    assert re.fullmatch("error: nowhere is not a model directory.*\n", done.stderr)


def test_plugins_are_imported(tmp_path, monkeypatch):
    (tmp_path / "parts_of_mine.py").write_text(
        "import dataclasses\nimport glow_tf\n\n"
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
        "class PartOfMine(glow_tf.layers.Layer):\n    scale: float = 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shared_flags.import_plugins(["parts_of_mine"])
    assert "PartOfMine" in Layer.classes
    # Other tests iterate over all layer classes.
    del Layer.classes["PartOfMine"]


def test_a_plugin_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="--plugins=nowhere cannot be imported: No module named 'nowhere'"):
        shared_flags.import_plugins(["nowhere"])
