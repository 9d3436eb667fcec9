"""SavedModels in TensorFlow's `saved_model_cli`, which runs signatures in a C++ session, as TensorFlow Serving does."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import saved_models

COMMAND = [str(pathlib.Path(sys.executable).with_name("saved_model_cli"))]
IMAGES = np.random.default_rng(0).integers(0, 256, [2, 12], np.uint8)


@pytest.fixture(scope="module")
def flow():
    return saved_models.flow("flat")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("command_line")


def run(directory, *arguments, name="glow", check=True):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [*COMMAND, arguments[0], "--dir", str(saved_models.saved(name)), "--tag_set", "serve", *arguments[1:]]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 or not check, done.stderr[-2000:]
    return done


@pytest.mark.slow
def test_show_tells_inputs_and_outputs(directory):
    shown = run(directory, "show", "--signature_def", "interpolate").stdout
    for name, dtype, shape in [
        ("start", "DT_UINT8", "(-1, 8, 8, 3)"),
        ("end", "DT_UINT8", "(-1, 8, 8, 3)"),
        ("steps", "DT_INT32", "()"),
        ("images", "DT_UINT8", "(-1, -1, 8, 8, 3)"),
    ]:
        text = shown.partition(f"['{name}'] tensor_info:")[2].partition("name:")[0]
        assert text.split() == ["dtype:", dtype, "shape:", *shape.split()], name


@pytest.mark.slow
def test_run_finds_what_the_flow_finds_and_takes_defaults(directory, flow):
    np.save(directory / "images.npy", IMAGES)
    inputs = ["--inputs", "images=images.npy", "--outdir", "out"]
    run(directory, "run", "--signature_def", "log_prob", *inputs, name="flat")
    bits = np.load(directory / "out" / "bits_per_dim.npy")
    np.testing.assert_allclose(bits, flow.bits_per_dim(IMAGES, seed=0), rtol=1e-5)


@pytest.mark.slow
def test_run_says_what_is_wrong_with_a_file(directory):
    done = run(
        directory, "run", "--signature_def", "encode_bytes", "--input_exprs", 'image_bytes=[b"text"]', check=False
    )
    assert done.returncode != 0
    assert "image_bytes must be PNG or JPEG files; this one, counted from 0, is not:] [0]" in done.stderr
