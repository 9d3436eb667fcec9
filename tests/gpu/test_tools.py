"""Tools on a GPU, with the pretrained model of the package."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.gpu.programs import NOISE, begin, end
from tests.models.test_pretrained import FLAGFILES

SAMPLE = ["-m", "tools.sample", "--num=16", "--seed=1", "--scale=1"]
# Largest difference of two neighbouring levels of 5 bits, spread over 0 to 255.
LEVEL = 9


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The directory in which the tools ran, and the stdout and stderr of the evaluation."""
    directory = tmp_path_factory.mktemp("work")
    evaluation = begin(["-m", "tools.evaluate"], directory)
    samples = begin([*SAMPLE, "--output=gpu.png"], directory)
    on_a_cpu = begin([*SAMPLE, "--output=cpu.png"], directory, CUDA_VISIBLE_DEVICES="")
    for process in (samples, on_a_cpu):
        end(process)
    return directory, end(evaluation)


def test_evaluate_gives_the_bits_per_dim_that_the_flagfile_states(work):
    _, (out, err) = work
    found = float(re.search(r"^bits/dim: (\S+) .*\(114 images\)$", out, re.MULTILINE)[1])
    stated = float((FLAGFILES / "people_pretrained.flags").read_text().split("Expect ")[1].split(" +- ")[0])
    assert found == pytest.approx(stated, abs=0.0006)
    assert "100 of 100 images are reconstructed exactly" in out
    assert not NOISE.search(err), err


def test_samples_are_those_of_a_cpu(work):
    pictures = []
    for name in ("gpu", "cpu"):
        with Image.open(work[0] / f"{name}.png") as file:
            pictures.append(np.asarray(file).astype(int))
    assert pictures[0].std() > 10
    # A value near the edge of a bin may fall on either side.
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.max() <= LEVEL
    assert np.mean(difference > 0) < 0.01
