"""The command line of the benchmark."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.commands.driver import run_commands

pytestmark = pytest.mark.slow

SIZES = ["--K=1", "--L=2", "--width=4", "--image_size=8", "--train_batch_size=2", "--repeats=1"]
COMMANDS = {
    "benchmark": ["benchmark", *SIZES, "--output=benchmark.json"],
    "bfloat16": ["benchmark", *SIZES, "--L=1", "--nostart", "--network_precision=bfloat16", "--output=bfloat16.json"],
    "a precision nobody knows": ["benchmark", *SIZES, "--nostart", "--network_precision=float8"],
    "a peer nobody knows": ["benchmark", *SIZES, "--nostart", "--compare", "--peers=flowww"],
    "a size that cannot be halved": ["benchmark", *SIZES[:3], "--image_size=9"],
}

COMPARE = [
    *["benchmark", *SIZES, "--nostart", "--compare", "--peers=tfb.Glow,nflows"],
    *["--output=compared.json", "--plot=compared.png"],
]


def timed_rows(out):
    """The seconds in each row of the first table, keyed by row name."""
    return dict(re.findall(r"^\| ([a-z0-9, ]+) \| ([\d.]+) \|", out, re.MULTILINE))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    directory = tmp_path_factory.mktemp("work")
    return directory, run_commands(directory, {name: COMMANDS[name] for name in COMMANDS if name != "benchmark"})


@pytest.fixture(scope="module")
def with_starts(tmp_path_factory):
    """The results with startup times; each start runs in a separate process."""
    directory = tmp_path_factory.mktemp("starts")
    return directory, run_commands(directory, {"benchmark": COMMANDS["benchmark"]})


def test_table_and_json_agree(with_starts):
    directory, results = with_starts
    code, out, err = results["benchmark"]
    assert code == 0, err
    content = json.loads((directory / "benchmark.json").read_text())
    assert {key: content[key] for key in ("K", "L", "width", "image_size", "train_batch_size")} == {
        **{"K": 1, "L": 2, "width": 4, "image_size": 8, "train_batch_size": 2}
    }
    rows = timed_rows(out)
    assert list(rows) == ["train, reversible", "train, stored", "likelihood", "sample"]
    for name, seconds in rows.items():
        row = content["results"][name]
        assert float(seconds) == pytest.approx(row["seconds"], abs=1e-4)
        assert row["images_per_second"] == pytest.approx(2 / row["seconds"])
        assert 0 < row["of_peak"] and 0 < row["of_bound"]
        # Tracing alone takes longer than a step of this model.
        assert row["compile_seconds"] > row["seconds"]


def test_training_is_beside_products_of_its_own_precision(work):
    directory, (code, out, err) = work[0], work[1]["bfloat16"]
    assert code == 0, err
    trained = ["train, reversible, bfloat16", "train, stored, bfloat16"]
    assert list(timed_rows(out)) == [*trained, "likelihood", "sample"]
    results = json.loads((directory / "bfloat16.json").read_text())["results"]
    assert [row["network_precision"] for row in results.values()] == ["bfloat16"] * 2 + ["float32"] * 2
    peaks = [row["flops_per_second"] / row["of_peak"] for row in results.values()]
    assert peaks[0] == pytest.approx(peaks[1]) and peaks[2] == pytest.approx(peaks[3])
    assert peaks[0] != pytest.approx(peaks[2], rel=1e-6)


def test_a_precision_nobody_knows(work):
    code, _, err = work[1]["a precision nobody knows"]
    assert code == 1 and "network_precision='float8' is not one of 'float32'" in err


def test_start_memory_and_pipeline(with_starts):
    directory, (_, out, _) = with_starts[0], with_starts[1]["benchmark"]
    content = json.loads((directory / "benchmark.json").read_text())
    for gradient in ("reversible", "stored"):
        start = content["start"][gradient]
        assert start["import_libraries"] > start["import_package"] > 0
        assert start["first_step"] > start["step"] > 0
        assert start["process"] > 100e6
        assert re.search(rf"^\| {gradient} \| {start['import_libraries']:.1f} s \|", out, re.MULTILINE)
    assert content["pipeline_images_per_second"] > 0
    assert "Input pipeline alone, a folder of JPEG files: " in out


def test_beside_another_package(tmp_path):
    directory, (code, out, err) = tmp_path, run_commands(tmp_path, {"compare": COMPARE})["compare"]
    assert code == 0, err
    content = json.loads((directory / "compared.json").read_text())
    ours = {name: row["seconds"] for name, row in content["results"].items()}
    theirs = content["peers"]["tfb.Glow"]
    assert theirs["version"].startswith("tensorflow-probability 0.")
    for workload, names in {"train": ["train, reversible", "train, stored"], "sample": ["sample"]}.items():
        seconds = 2 / theirs[workload]["images_per_second"]
        assert theirs[workload]["glow_tf_is_faster_by"] == pytest.approx({n: seconds / ours[n] for n in names})
    assert "| tfb.Glow (tensorflow-probability" in out
    assert "nflows" in content["peers"] or "not installed: pip install nflows" in out
    assert content["start"] == {}
    with Image.open(directory / "compared.png") as file:
        assert np.asarray(file.convert("L")).std() > 5


def test_a_peer_nobody_knows(work):
    code, _, err = work[1]["a peer nobody knows"]
    assert code == 1 and "'flowww' is not a peer; there are tfb.Glow, " in err


def test_a_size_that_cannot_be_halved(work):
    code, _, err = work[1]["a size that cannot be halved"]
    assert code == 1 and "error: " in err
