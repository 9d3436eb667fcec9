"""What the README shows must run."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.analysis.attributes import Directions
from glow_tf.export import export_saved_model
from glow_tf.export.served_flow import ServedFlow
from tests.extending.my_parts import Dense, ScaleAndShift, Sinh

README = pathlib.Path(__file__).parents[1] / "README.md"


FIRST, OWN_LOOP, IN_KERAS, REUSE, OWN_PARTS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_python_examples_run_and_give_the_shapes_they_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(FIRST, str(README), "exec"), names)
    stated = re.findall(r"^(\w+) = .*# \[([\d, ]+)\]", FIRST, re.MULTILINE)
    assert len(stated) >= 5
    for name, shape in stated:
        assert names[name].shape == [int(n) for n in shape.split(",")], name
    # What the other takes for granted.
    small = glow_tf.Flow(glow_tf.glow((4, 4, 3), K=1, L=1, width=4))
    photos = np.random.default_rng(0).integers(0, 256, [64, 4, 4, 3], np.uint8)
    exec(compile(IN_KERAS, str(README), "exec"), {"glow_tf": glow_tf, "flow": small, "photos": photos})
    assert small.initialized.numpy() and (tmp_path / "model.keras").is_file()


def test_the_example_of_a_loop_of_ones_own_runs():
    photos = np.random.default_rng(0).integers(0, 256, [8, 32, 32, 3], np.uint8)
    names = {"glow_tf": glow_tf, "photos": photos}
    # A smaller model, compiled in less time.
    exec(compile(OWN_LOOP.replace("K=8, L=3, width=128", "K=1, L=1, width=4"), str(README), "exec"), names)
    before = names["flow"].trainable_variables[0].numpy()
    assert np.isfinite(names["step"](photos, tf.constant([0, 1])))
    assert np.any(names["flow"].trainable_variables[0] != before)


def test_the_example_of_parts_of_ones_own_runs():
    names = {"MyTransform": Sinh, "MyNetwork": Dense, "MyLayer": ScaleAndShift, "glow_tf": glow_tf}
    exec(compile(OWN_PARTS, str(README), "exec"), names)
    assert names["config"].layers[-1] == ScaleAndShift()


@pytest.mark.slow
def test_the_example_with_a_savedmodel_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(FIRST, str(README), "exec"), names)
    export_saved_model(names["flow"], tmp_path / "models" / "glow" / "1")
    (tmp_path / "anna.png").write_bytes(tf.io.encode_png(names["images"][0]).numpy())
    exec(compile(REUSE, str(README), "exec"), names)
    assert set(names["model"].signatures) >= {"log_prob", "encode_bytes"}


def test_the_table_of_functions_is_that_of_the_savedmodel():
    rows = re.findall(r"^\| (`\w+\(.*?) \| .* \|$", README.read_text(), re.MULTILINE)
    described = dict(re.findall(r"`(\w+)\(([^)]*)\)`", " ".join(rows)))
    counts = np.ones(1, int)
    flow = glow_tf.Flow(glow_tf.glow((4, 4, 3), K=1, L=1, width=4))
    directions = Directions(("smile",), np.zeros([1, flow.config.dimensions], np.float32), counts, counts)
    functions = ServedFlow(flow, directions).signatures()
    assert set(described) == {name for name in functions if not name.endswith("_bytes")}
    for name, arguments in described.items():
        inputs = [argument.split("=")[0].strip() for argument in arguments.split(",") if argument]
        assert inputs == list(functions[name].function_type.parameters), name


def test_the_files_it_points_to_are_there():
    targets = re.findall(r"\]\(([^)h][^)]*)\)", README.read_text())
    assert targets
    headings = re.findall(r"^#+ (.*)$", README.read_text(), re.MULTILINE)
    sections = {f"#{heading.lower().replace(' ', '-')}" for heading in headings}
    for target in targets:
        assert target in sections or (README.parent / target).is_file(), target
