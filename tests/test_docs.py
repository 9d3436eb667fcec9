"""The examples in the README and docs run, and the files, sections, commands and flags they refer to exist."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import cli
from glow_tf.analysis.attributes import Directions
from glow_tf.export import export_saved_model
from glow_tf.export.served_flow import ServedFlow
from tests.extending.my_parts import Dense, ScaleAndShift, Sinh
from tools import published_table

ROOT = pathlib.Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path for path in (README, ROOT / "BUILD.md", *sorted(DOCS.rglob("*.md")))}


def python_of(page):
    """The Python code blocks of a page, except for excerpts, which have the name of their file as title."""
    return re.findall(r"^```python\n(.*?)^```", PAGES[page].read_text(), re.DOTALL | re.MULTILINE)


def run(code, page, names):
    exec(compile(code, page, "exec"), names)


def stated_shapes(code):
    """Names and shapes in lines of the form `name = ...  # [2, 3] ...`."""
    return [
        (name, [int(n) for n in shape.split(",")])
        for name, shape in re.findall(r"^(\w+) = .*# \[([\d, ]+)\]", code, re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def photos():
    return np.random.default_rng(0).integers(0, 256, [64, 32, 32, 3], np.uint8)


@pytest.fixture(scope="module")
def ten_lines():
    (code,) = python_of("README.md")
    names = {}
    # A smaller model, compiled in less time, and fewer steps.
    run(code.replace("K=4, width=64", "K=1, width=4").replace("steps=300", "steps=2"), "README.md", names)
    return code, names


def test_the_ten_lines_give_the_shapes_they_state(ten_lines):
    code, names = ten_lines
    shapes = stated_shapes(code)
    assert len(shapes) == 7
    for name, shape in shapes:
        assert names[name].shape == shape, name
    assert python_of("docs/index.md") == [code]


def test_the_page_on_python_runs(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start, distribution, own_loop, in_keras = python_of("docs/python.md")
    names = {}
    run(start, "docs/python.md", names)
    for name, shape in stated_shapes(start):
        assert names[name].shape == shape, name
    run(distribution, "docs/python.md", names)
    for name, shape in stated_shapes(distribution):
        assert names[name].shape == shape, name
    # A smaller model, compiled in less time.
    names |= {"photos": photos[:8]}
    run(own_loop.replace("K=8, L=3, width=128", "K=1, L=1, width=4"), "docs/python.md", names)
    before = names["flow"].trainable_variables[0].numpy()
    assert np.isfinite(names["step"](photos[:8], tf.constant([0, 1])))
    assert np.any(names["flow"].trainable_variables[0] != before)
    small = glow_tf.Flow(glow_tf.glow((4, 4, 3), K=1, L=1, width=4))
    run(in_keras, "docs/python.md", names | {"flow": small, "photos": photos[:, :4, :4]})
    assert small.initialized.numpy() and (tmp_path / "model.keras").is_file()


def test_parts_of_ones_own_run(photos):
    names = {"MyTransform": Sinh, "MyNetwork": Dense, "MyLayer": ScaleAndShift, "glow_tf": glow_tf}
    (code,) = python_of("docs/models.md")
    run(code, "docs/models.md", names)
    assert names["config"].layers[-1] == ScaleAndShift()
    (code,) = python_of("docs/extending.md")
    names = {"__name__": "kumaraswamy"}
    run(code, "docs/extending.md", names)
    flow = glow_tf.Flow(glow_tf.glow((4, 4, 3), K=1, L=1, width=4, dequantizer=names["Kumaraswamy"](n_bits=5)))
    assert np.all(np.isfinite(flow.bits_per_dim(photos[:2, :4, :4])))


def test_the_crops_of_the_walk_are_made(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "originals").mkdir()
    photo = np.random.default_rng(0).integers(0, 256, [60, 100, 3], np.uint8)
    for name in ("hill", "lake"):
        (tmp_path / "originals" / f"{name}.jpg").write_bytes(tf.io.encode_jpeg(photo).numpy())
    make_crops, show_them = python_of("docs/photographs.md")
    run(make_crops.replace("400", "4").replace(", 40)", ", 2)"), "docs/photographs.md", {})
    run(show_them, "docs/photographs.md", {})
    assert (tmp_path / "crops.png").is_file()
    source = glow_tf.data.load_source("folder", data_dir="photos", image_size=32)
    assert source.image_shape == (32, 32, 3) and source.class_names == ("hill", "lake")
    assert dict(source.sizes) == {"train": 8, "test": 4}


@pytest.mark.slow
def test_the_example_with_a_savedmodel_runs(ten_lines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(ten_lines[1])
    export_saved_model(names["flow"], tmp_path / "models" / "glow" / "1")
    (tmp_path / "anna.png").write_bytes(tf.io.encode_png(names["images"][0]).numpy())
    (code,) = python_of("docs/reuse.md")
    run(code, "docs/reuse.md", names)
    assert set(names["model"].signatures) >= {"log_prob", "encode_bytes"}


def test_the_table_of_functions_is_that_of_the_savedmodel():
    rows = re.findall(r"^\| (`\w+\(.*?) \| .* \|$", PAGES["docs/reuse.md"].read_text(), re.MULTILINE)
    described = dict(re.findall(r"`(\w+)\(([^)]*)\)`", " ".join(rows)))
    counts = np.ones(1, int)
    flow = glow_tf.Flow(glow_tf.glow((4, 4, 3), K=1, L=1, width=4))
    directions = Directions(("smile",), np.zeros([1, flow.config.dimensions], np.float32), counts, counts)
    functions = ServedFlow(flow, directions).signatures()
    assert set(described) == {name for name in functions if "_bytes" not in name}
    for name, arguments in described.items():
        inputs = [argument.split("=")[0].strip() for argument in arguments.split(",") if argument]
        assert inputs == list(functions[name].function_type.parameters), name


def test_the_table_of_published_figures_is_that_of_the_flagfiles():
    assert published_table.table() in PAGES["docs/published.md"].read_text()


def test_changelog_and_citation_are_of_this_version():
    changes = re.findall(r"^## \[(\d[^]]*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text()
    stated = [re.search(rf'^{field}: "?([^"\n]+)', citation, re.MULTILINE)[1] for field in ("version", "date-released")]
    assert tuple(stated) == changes[0] and stated[0] == glow_tf.__version__


@pytest.mark.parametrize("page", PAGES)
def test_excerpts_are_in_the_code(page):
    for path, excerpt in re.findall(r'^```python title="(.*?)"\n(.*?)^```', PAGES[page].read_text(), re.DOTALL | re.M):
        lines = iter((ROOT / path).read_text().splitlines())
        for line in filter(None, excerpt.splitlines()):
            assert line in lines, f"{path} no longer has, in this order: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_the_files_and_sections_it_points_to_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page].read_text()):
        if target.startswith(("https://", "http://")):
            continue
        name, _, section = target.partition("#")
        path = (PAGES[page].parent / name).resolve() if name else PAGES[page]
        assert path.is_file(), target
        # Sections of the reference come from docstrings: `make docs` checks them.
        if section and "reference/" not in name:
            assert section in sections(path), target


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_flags_exist(page):
    code = re.findall(r"^```\n(.*?)^```|`(glow [^`]*)`", PAGES[page].read_text(), re.DOTALL | re.MULTILINE)
    for line in "\n".join(part for parts in code for part in parts).replace("\\\n", " ").splitlines():
        command = re.search(r"(?:^|\s|/)glow (\w+)(.*?)(?:\s#|$)", line)
        if command and not line.startswith("pip"):
            assert command[1] in cli.COMMANDS, line
            for flag in re.findall(r"--(?:no)?(\w+)", command[2]):
                assert flag in ("help", "helpfull", "flagfile") or is_flag(flag), f"{line}: --{flag}"


def is_flag(name):
    """Returns whether the source of any command names a flag; importing a command would take seconds."""
    files = [*(ROOT / "glow_tf").glob("*.py"), *(ROOT / "glow_tf" / "commands").glob("*.py")]
    return any(f'"{name}"' in path.read_text() or f"{name}=" in path.read_text() for path in files)


def sections(path):
    """The anchors of a page's headings, as generated by MkDocs and GitHub."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}
