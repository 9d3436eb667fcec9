"""The command line of the benchmark."""

import json
import re

import pytest

from tests.tools.driver import run_commands

SIZES = ["--K=1", "--L=2", "--width=4", "--image_size=8", "--train_batch_size=2", "--repeats=1"]
COMMANDS = {
    "benchmark": ["benchmark", *SIZES, "--output=benchmark.json"],
    "a size that cannot be halved": ["benchmark", *SIZES[:3], "--image_size=9"],
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    directory = tmp_path_factory.mktemp("work")
    return directory, run_commands(directory, COMMANDS)


def test_table_and_json_agree(work):
    directory, results = work
    code, out, err = results["benchmark"]
    assert code == 0, err
    content = json.loads((directory / "benchmark.json").read_text())
    assert {key: content[key] for key in ("K", "L", "width", "image_size", "train_batch_size")} == {
        **{"K": 1, "L": 2, "width": 4, "image_size": 8, "train_batch_size": 2}
    }
    rows = re.findall(r"^\| ([a-z, ]+) \| ([\d.]+) \|", out, re.MULTILINE)
    assert [name for name, _ in rows] == ["train, reversible", "likelihood", "sample", "train, stored"]
    for name, seconds in rows:
        row = content["results"][name]
        assert float(seconds) == pytest.approx(row["seconds"], abs=1e-4)
        assert row["images_per_second"] == pytest.approx(2 / row["seconds"])
        assert 0 < row["of_peak"] and 0 < row["of_bound"]


def test_a_size_that_cannot_be_halved(work):
    code, _, err = work[1]["a size that cannot be halved"]
    assert code == 1 and "error: " in err
