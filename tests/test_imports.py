"""Rules for imports between the parts of the project."""

import ast
import pathlib
import subprocess
import sys

import pytest

from tests.marks import slow

ROOT = pathlib.Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("glow_tf", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
}

# Imports go from a higher level to a lower or the same one.
LEVELS = {
    "tools": 10,
    "glow_tf.__main__": 10,
    "glow_tf.cli": 9,
    "glow_tf.commands": 8,
    "glow_tf.main": 8,
    "glow_tf.options": 7,
    "glow_tf.run_flags": 7,
    "glow_tf.shared_flags": 7,
    "glow_tf.demo": 7,
    "glow_tf.training": 6,
    "glow_tf.analysis": 6,
    "glow_tf.export": 6,
    "glow_tf.serving": 6,
    "glow_tf.models": 5,
    "glow_tf.data": 5,
    "glow_tf.config": 4,
    "glow_tf.dequantization": 3,
    "glow_tf.layers": 3,
    "glow_tf.bijectors": 2,
    "glow_tf.networks": 1,
    "glow_tf.partitions": 1,
    "glow_tf.transforms": 1,
    "glow_tf.arguments": 0,
    "glow_tf.description": 0,
    "glow_tf.flagfiles": 0,
    "glow_tf.flops": 0,
    "glow_tf.mode": 0,
    "glow_tf.official": 0,
    "glow_tf.parameters": 0,
    "glow_tf.runtime": 0,
    "glow_tf.shapes": 0,
    "glow_tf.version": 0,
}

# The top-level package re-exports from everywhere, and no module inside imports from it.
TOP = "glow_tf"

every_module = pytest.mark.parametrize("module", [m for m in MODULES if m != TOP])


def imports(module):
    """Every module that `module` imports, anywhere in its file."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import."
            # `from package import name` imports a module if there is one of that name.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES or not node.module.startswith("glow_tf") else node.module)
    return found


def part(module):
    """The part of the project a module belongs to: a key of LEVELS."""
    names = module.split(".")
    return names[0] if names[0] == "tools" else ".".join(names[:2])


def test_every_part_has_its_level():
    parts = {part(module) for module in MODULES if module != TOP}
    assert parts <= set(LEVELS), f"Give {sorted(parts - set(LEVELS))} a level."


@every_module
def test_imports_run_one_way(module):
    mine = part(module)
    for imported in imports(module):
        if imported.split(".")[0] not in ("glow_tf", "tools"):
            continue
        assert imported != TOP, f"{module} imports the package's front hall; name the module itself."
        theirs = part(imported)
        assert LEVELS[theirs] <= LEVELS[mine], f"{module} imports {imported}."
        assert {mine, theirs} != {"glow_tf.models", "glow_tf.data"}, f"{module} imports {imported}."


def test_data_stands_alone():
    for module in MODULES:
        if part(module) == "glow_tf.data":
            inside = {part(i) for i in imports(module) if i.startswith("glow_tf")}
            assert inside <= {"glow_tf.data", "glow_tf.arguments", "glow_tf.runtime"}, module


def test_parts_of_one_level_do_not_import_each_other_in_a_circle():
    edges = {(part(m), part(i)) for m in MODULES if m != TOP for i in imports(m) if i.startswith("glow_tf.")}
    circles = {(a, b) for a, b in edges if a != b and (b, a) in edges}
    assert not circles


def test_one_module_knows_the_internals_of_other_libraries():
    internal = ("tensorflow.python", "tensorflow_probability.python", "keras.src", "tf_keras.src")
    knowing = {m for m in MODULES if any(i.startswith(internal) for i in imports(m))}
    assert knowing == {"glow_tf.runtime.internals"}


def test_only_the_entry_points_know_absl():
    knowing = {m for m in MODULES if any(i.split(".")[0] == "absl" for i in imports(m))}
    allowed = {m for m in MODULES if part(m) in ("tools", "glow_tf.commands")}
    allowed |= {"glow_tf.options", "glow_tf.run_flags", "glow_tf.shared_flags", "glow_tf.main"}
    assert knowing <= allowed, sorted(knowing - allowed)


@pytest.mark.parametrize(
    "code,absent",
    [
        ("import glow_tf", ["PIL", "keras", "matplotlib", "tensorflow", "tensorflow_datasets", "tf_keras"]),
        # TensorFlow Probability imports its own Keras; only the library that reads data sets must be absent.
        slow(("import glow_tf; glow_tf.Flow, glow_tf.glow, glow_tf.load", ["tensorflow_datasets"])),
    ],
)
def test_importing_the_package_is_light(code, absent):
    code = f"import sys; {code}; print(sorted({{m.split('.')[0] for m in sys.modules}} & set({absent})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_everything_public_is_there():
    import glow_tf
    from glow_tf import analysis, bijectors, networks

    for package in (glow_tf, analysis, bijectors, networks):
        for name in package.__all__:
            assert getattr(package, name) is not None
