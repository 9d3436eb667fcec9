"""A short run of the quick start learns."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_start_is_on_its_way_after_a_minute(tmp_path):
    command = [sys.executable, "-m", "glow_tf.main", "--flagfile=quickstart", f"--model_dir={tmp_path}"]
    output = subprocess.run([*command, "--steps=500"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    bits_per_dim = float(output.splitlines()[-1].split("test bits/dim: ")[1].split()[0])
    # White noise is 5 bits, and the model begins at about 4.
    assert bits_per_dim < 2.6
