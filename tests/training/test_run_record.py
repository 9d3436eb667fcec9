"""The record of how a run was made."""

import json
import platform

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training.run_record import RunRecord, Start
from tests.training import helpers


def starts(directory):
    return json.loads((directory / "run.json").read_text())["starts"]


def begin(directory, step, command="glow train --steps=3", **fields):
    record = RunRecord(directory, Start(command=command, **fields), helpers.one_device())
    record.begin(step)
    return record


def test_every_start_is_told(tmp_path):
    record = begin(tmp_path, 0)
    record.reached(3)
    (first,) = starts(tmp_path)
    assert (first["command"], first["from_step"], first["to_step"], first["replicas"]) == (
        "glow train --steps=3",
        0,
        3,
        1,
    )
    assert first["devices"] and first["seconds"] >= 0
    versions = first["versions"]
    assert versions["glow_tf"] == glow_tf.__version__
    assert versions["python"] == platform.python_version()
    assert (versions["tensorflow"], versions["numpy"]) == (tf.__version__, np.__version__)
    again = begin(tmp_path, 3, "glow train --resume")
    again.reached(5)
    assert starts(tmp_path) == [first, again.starts[-1]]
    assert [(start["command"], start["to_step"]) for start in again.starts][1:] == [("glow train --resume", 5)]


def test_a_new_run_begins_a_new_record(tmp_path):
    begin(tmp_path, 0).reached(3)
    begin(tmp_path, 0, "another")
    assert [start["command"] for start in starts(tmp_path)] == ["another"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"starts": 3}', '{"starts": [{"command": "x"}, 5]}'])
def test_a_damaged_record_is_no_obstacle(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    begin(tmp_path, 7)
    assert [start["from_step"] for start in starts(tmp_path)] == [7]


def test_names_that_are_no_text_are_written(tmp_path):
    begin(tmp_path, 0, "glow train --data_dir=caf\udce9", flagfile=["--data_dir=caf\udce9"])
    assert starts(tmp_path)[0]["command"] == "glow train --data_dir=caf\\xe9"
    # These bytes are read from a flagfile as that name.
    assert b"--data_dir=caf\xe9\n" in (tmp_path / "run.flags").read_bytes()


def test_without_flags_there_is_no_flagfile(tmp_path):
    begin(tmp_path, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
