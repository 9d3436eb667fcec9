"""The examples in the README and docs run, and the files, sections, commands and flags they refer to exist."""

import ast
import functools
import importlib
import inspect
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


EXCERPTS = [
    (page, path, excerpt)
    for page in PAGES
    for path, excerpt in re.findall(r'^```python title="(.*?)"\n(.*?)^```', PAGES[page].read_text(), re.DOTALL | re.M)
]


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
    config = glow_tf.glow((4, 4, 3), K=1, L=1, width=4, num_classes=2, conditional=False, classifier=True)
    flow = glow_tf.Flow(config)
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


@pytest.mark.parametrize(("page", "path", "excerpt"), EXCERPTS, ids=[f"{page}: {path}" for page, path, _ in EXCERPTS])
def test_excerpts_are_in_the_code(page, path, excerpt):
    lines = iter((ROOT / path).read_text().splitlines())
    for line in filter(None, excerpt.splitlines()):
        assert line in lines, f"{path} no longer has, in this order: {line}"


def test_the_pages_that_explain_code_have_excerpts_of_it():
    assert {page for page, _, _ in EXCERPTS} >= {"docs/mathematics.md", "docs/extending.md"}


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
    for line, command, arguments in commands_of(page):
        assert command in cli.COMMANDS, line
        for flag in re.findall(r"(?:^|\s)--(\w+)", arguments):
            assert flags_of(command) & {flag, flag.removeprefix("no")}, f"{line}: --{flag}"


def test_the_commands_of_a_page_are_found():
    assert len(commands_of("README.md")) >= 6
    assert sum(len(commands_of(page)) for page in PAGES) > 100
    assert {"num", "batch_size", "saved_model"} < flags_of("sample") and "train_batch_size" not in flags_of("sample")


def commands_of(page):
    """The command lines on a page, in code blocks without a language and in the text: line, command and arguments."""
    block = r"^( *)```([^\n]*)\n(.*?)^ *```$"
    text = PAGES[page].read_text()
    lines = [code for _, language, code in re.findall(block, text, re.DOTALL | re.MULTILINE) if not language]
    lines += re.findall(r"`(glow [^`]*)`", re.sub(block, "", text, flags=re.DOTALL | re.MULTILINE))
    found = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        command = re.search(r"(?:^|\s|/)glow (\w+)(.*?)(?:\s#|$)", line)
        if command and not line.startswith("pip"):
            found.append((line, command[1], command[2]))
    return found


@functools.cache
def flags_of(command):
    """The flags of a command, from the calls in its source that define them; importing it would take seconds."""
    names = {"help", "helpfull", "flagfile", "saved_model", "plugins"}
    if command == "train":
        # Some are defined in loops over their names.
        sources = [
            (ROOT / "glow_tf" / f"{module}.py").read_text() for module in ("options", "run_flags", "shared_flags")
        ]
        return names | set(re.findall(r'"(\w+)"', "\n".join(sources)))
    source = (ROOT / "glow_tf" / "commands" / f"{command}.py").read_text()
    # Flags of several commands are in lists of names.
    for module, names_of in re.findall(r"\b(\w+_flags)\.(NAMES|OF_DATA_SET)\b", source):
        names.update(getattr(importlib.import_module(f"glow_tf.commands.{module}"), names_of))
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and re.search(r"\bdefine|\bDEFINE_", ast.unparse(call.func)):
            shared = ast.unparse(call.func).endswith("define")
            arguments = call.args if shared else call.args[:1]
            constants = [
                node for argument in arguments for node in ast.walk(argument) if isinstance(node, ast.Constant)
            ]
            names.update(node.value for node in constants)
            names.update(keyword.arg for keyword in call.keywords if shared)
    return names


def sections(path):
    """The anchors of a page's headings, as generated by MkDocs and GitHub."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}


def public_parts():
    """Names of all public classes and functions."""
    for name in glow_tf.__all__:
        value = getattr(glow_tf, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield f"glow_tf.{name}"
        elif inspect.ismodule(value):
            own = [n for n, v in vars(value).items() if inspect.isclass(v) and v.__module__ == value.__name__]
            names = getattr(value, "__all__", [n for n in own if not n.startswith("_")])
            yield from (f"glow_tf.{name}.{n}" for n in names if callable(getattr(value, n)))


def test_the_reference_has_every_public_part():
    stated = [re.findall(r"^::: (.+)$", path.read_text(), re.MULTILINE) for path in DOCS.glob("reference/*.md")]
    parts = set(public_parts())
    assert "glow_tf.fit" in parts and "glow_tf.partitions.Turns" in parts
    assert not parts - set(sum(stated, []))
