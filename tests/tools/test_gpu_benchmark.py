"""The GPU benchmark: its command line, on a CPU with tiny models, its rows, and its table."""

import contextlib
import dataclasses
import json
import time

import numpy as np
import pytest
from PIL import Image

from glow_tf.models import presets
from tests.commands.driver import run_commands
from tools import cost, gpu_rows, gpu_table
from tools.gpu_processes import Processes

SMOKE = ["gpu_benchmark", "--smoke", "--rows=product,layout", "--output=docs/gpu.json", "--plot="]
# As written by a version that did not record --smoke.
MEASURED = json.dumps({"machine": {"processor": "x86_64"}, "rows": {}})
COMMANDS = {
    "no GPU": ["gpu_benchmark"],
    "unknown rows": ["gpu_benchmark", "--smoke", "--rows=produkt"],
    "smoke beside measurements": ["gpu_benchmark", "--smoke", "--rows=product", "--minutes=0"],
    "smoke among measurements": ["gpu_benchmark", "--smoke", "--rows=product", "--resume", "--output=docs/gpu.json"],
    "smoke in place of notes": ["gpu_benchmark", "--smoke", "--rows=product", "--plot=notes.md"],
    "no time": [*SMOKE[:-2], "--minutes=0", "--output=none.json"],
    "smoke": SMOKE,
    "again": [*SMOKE, "--resume"],
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    names = ("no GPU", "unknown rows", *(name for name in COMMANDS if name.startswith("smoke ")))
    directory = tmp_path_factory.mktemp("refused")
    (directory / "docs").mkdir()
    (directory / "docs" / "gpu.json").write_text(MEASURED)
    return directory, run_commands(directory, {name: COMMANDS[name] for name in names})


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    directory = tmp_path_factory.mktemp("work")
    return directory, run_commands(directory, {name: COMMANDS[name] for name in ("no time", "smoke", "again")})


def table(out):
    """The cells of each row of a table, including the header row."""
    rows = [line.strip("|").split("|") for line in out.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.slow
def test_without_a_gpu_it_says_so(refused):
    code, _, err = refused[1]["no GPU"]
    assert code == 1 and err.startswith("error: TensorFlow sees no GPU here") and err.count("\n") == 1


@pytest.mark.slow
def test_unknown_rows(refused):
    code, _, err = refused[1]["unknown rows"]
    assert code == 1 and "'produkt' is neither a group (throughput, large, options, memory) nor part" in err


@pytest.mark.slow
def test_tiny_models_are_kept_apart_from_measurements(refused):
    directory, results = refused
    assert "No row could be measured" in results["smoke beside measurements"][2]
    assert json.loads((directory / "runs" / "gpu_smoke.json").read_text())["smoke"] is True
    code, _, err = results["smoke among measurements"]
    assert (code, err) == (1, "error: docs/gpu.json was measured without --smoke; write to another --output.\n")
    assert results["smoke in place of notes"][2] == "error: --plot=notes.md must end with .png, .svg.\n"
    assert (directory / "docs" / "gpu.json").read_text() == MEASURED
    assert [path.name for path in (directory / "docs").iterdir()] == ["gpu.json"]


@pytest.mark.slow
def test_when_the_time_is_up_rows_say_so(work):
    code, out, err = work[1]["no time"]
    assert code == 1 and "No row could be measured" in err
    assert [row[2] for row in table(out)[1:]] == ["not measured: the time was up"] * 2


@pytest.mark.slow
def test_a_row_is_in_table_and_json(work):
    directory, (code, out, err) = work[0], work[1]["smoke"]
    assert code == 0, err
    rows = json.loads((directory / "docs" / "gpu.json").read_text())["rows"]
    head, *lines = table(out)
    products = rows["matrix product"]["found"]
    assert [line[1] for line in lines[:3]] == list(products) == ["float32", "tf32", "bfloat16"]
    trained = rows["8x8, batch 2, without XLA and layout optimizer"]["found"]["train"]
    line = dict(zip(head, lines[3], strict=True))
    assert line["precision"] == trained["network_precision"] == "tf32"
    assert line["seconds"] == f"{trained['seconds']:.4f}"
    assert trained["images_per_second"] == pytest.approx(2 / trained["seconds"])
    share = trained["flops_per_second"] / products["tf32"]["flops_per_second"]
    assert line["of products"] == f"{share:.0%}" and share > 0
    assert trained["compile_seconds"] > trained["seconds"]


@pytest.mark.slow
def test_what_was_measured_is_kept(work):
    _, results = work
    assert results["again"][0] == 0, results["again"][2]
    assert table(results["again"][1]) == table(results["smoke"][1])


@pytest.mark.slow
def test_a_row_that_fails_spoils_no_other():
    rows = gpu_rows.rows(smoke=True)
    (good,), (bad,) = gpu_rows.chosen(rows, ["product"]), gpu_rows.chosen(rows, ["layout"])
    bad = dataclasses.replace(bad, sizes={**bad.sizes, "image_size": 9})
    records = {}
    with contextlib.closing(Processes([bad, good], records, smoke=True)) as processes:
        for row in (bad, good):
            records[row.name] = processes.measure(row, time.monotonic() + 200)
    assert "ValueError" in records[bad.name]["error"]
    assert records[good.name]["found"]["float32"]["flops_per_second"] > 0


@pytest.mark.parametrize("smoke", [True, False])
def test_every_row_can_be_built_and_counted(smoke):
    rows = gpu_rows.rows(smoke=smoke)
    assert len({row.name for row in rows}) == len(rows)
    assert {row.group for row in rows} == set(gpu_rows.GROUPS)
    for row in rows:
        if row.kind != "products":
            size = row.sizes["image_size"]
            config = presets.glow((size, size, 3), *(row.sizes[name] for name in ("K", "L", "width")))
            assert cost.flops(cost.products(config, row.batch_size, row.gradient)) > 0


def record(row, **found):
    return {**dataclasses.asdict(row), **found}


def found(precision, seconds, **other):
    return {"seconds": seconds, "images_per_second": 1 / seconds, "network_precision": precision, **other}


@pytest.fixture
def records():
    rows = {row.name: row for row in gpu_rows.rows()}
    titles = [f"32x32, batch 64, {end}" for end in ("reversible, tf32", "stored", "PyTorch, tf32")]
    ours, stored, theirs = (rows[title] for title in titles)
    large = rows["256x256, K=64, batch 64"]
    speed = {"flops_per_second": 1e14, "peak": 3 * 10**9, "peak_excluding_weights": 10**9, "compile_seconds": 20.0}
    return {
        "matrix product": record(
            rows["matrix product"], found={"tf32": {**found("tf32", 1.0), "flops_per_second": 4e14}}
        ),
        ours.name: record(ours, found={"train": found("tf32", 0.5, **speed)}),
        stored.name: record(stored, network_precision="tf32", found={"train": found("tf32", 0.25, **speed)}),
        theirs.name: record(
            theirs,
            found={"train": found("tf32", 1.0, peak=2 * 10**9), "sample": found("tf32", 1.0)},
            note="train: compiled, 1 s; eager 2 s / sample: eager, 1 s",
        ),
        large.name: record(large, error="out of memory"),
    }


def test_lines_have_shares_ratios_and_reasons(records):
    (columns,) = table(gpu_table.HEAD.splitlines()[0])
    lines = [
        dict(zip(columns, row, strict=True))
        for name in records
        for row in table("\n".join(gpu_table.lines(name, records)))
    ]
    by_name = {line[""]: line for line in lines}
    ours = by_name["32x32, batch 64, reversible, tf32"]
    assert (ours["of products"], ours["above"], ours["compile"]) == ("25%", "1,000 MB", "20.0 s")
    theirs = by_name["32x32, batch 64, PyTorch, tf32 (compiled, 1 s; eager 2 s)"]
    assert theirs["glow_tf is faster by"] == "2.00 (reversible), 4.00 (stored)"
    assert theirs["peak"] == "2,000 MB"
    # No row to compare with was measured.
    assert by_name["32x32, batch 64, PyTorch, tf32, sample (eager, 1 s)"]["glow_tf is faster by"] == "-"
    assert by_name["256x256, K=64, batch 64"]["seconds"] == "out of memory"


def test_the_plot_shows_what_was_measured(records, tmp_path):
    path = tmp_path / "gpu.png"
    assert gpu_table.draw(records, {"gpu": "NVIDIA H100", "processor": "x86_64"}, path)
    with Image.open(path) as file:
        assert np.asarray(file.convert("L")).std() > 5
    assert not gpu_table.draw(
        {"matrix product": records["matrix product"]}, {"processor": "x86_64"}, tmp_path / "no.png"
    )


def test_a_note_keeps_what_was_measured(records):
    """Even if it mentions an implementation that ran out of memory."""
    (name,) = (name for name, record in records.items() if record["kind"] == "pytorch")
    records[name]["note"] = "train: eager, 2 s; compiled fails: OutOfMemoryError: CUDA out of memory"
    assert "(eager, 2 s; compiled fails: OutOfMemoryError" in gpu_table.lines(name, records)[0]


def test_reasons_fit_a_cell():
    assert gpu_table.reason("x failed: InternalError: a | b\nc") == "x failed: InternalError: a / b c"
    assert len(gpu_table.reason("a long story " * 100)) < 200
