"""The required versions of Python and of libraries agree in all places that state them."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def pinned(name):
    """The pinned versions in a constraints file, keyed by library; the last of several for different Pythons."""
    lines = (ROOT / name).read_text().splitlines()
    return dict(re.match(r"([\w-]+)==([\w.]+)", line).groups() for line in lines if "==" in line.split(";")[0])


def dependencies():
    """The minimum version of each dependency in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"\ndependencies = \[\n(.*?)\n\]", text, re.DOTALL)[1]
    return dict(re.findall(r'^  "([\w-]+)>=([\w.]+)', block, re.MULTILINE))


def parts(version):
    return [int(part) for part in version.split(".")]


def test_every_place_states_the_same_pythons():
    project = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r"Python :: (\d\.\d+)", project) == PYTHONS
    assert 'requires-python = ">=3.10,<3.14"' in project
    for name in ("Makefile", "setup.py"):
        assert "(3, 10) <= sys.version_info[:2] <= (3, 13)" in (ROOT / name).read_text()


def test_the_oldest_versions_are_the_least_that_are_allowed():
    oldest, least = pinned("oldest.txt"), dependencies()
    assert set(least) <= set(oldest)
    for name, version in least.items():
        length = len(parts(version))
        assert parts(oldest[name])[:length] == parts(version) and not any(parts(oldest[name])[length:]), name


@pytest.mark.skipif(sys.platform == "win32", reason="make")
@pytest.mark.parametrize("version", ["3, 9", "3, 14"])
def test_make_refuses_other_pythons_before_it_installs_anything(tmp_path, version):
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\nimport sys\nsys.version_info = ({version}, 0)\nexec(sys.argv[2])\n")
    fake.chmod(0o755)
    command = ["make", "install", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode and done.stderr.startswith(f"Python 3.10, 3.11, 3.12 or 3.13 is needed, not {fake};")
    assert not (tmp_path / "venv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="make")
def test_a_python_that_is_named_has_an_environment_of_its_own(tmp_path):
    """Two versions of Python in one environment would mix their packages."""

    def python(path, version):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\nimport sys\nsys.version_info = ({version}, 0)\nexec(sys.argv[2])\n")
        path.chmod(0o755)
        return path

    def environment(*arguments):
        command = ["make", "--dry-run", "-f", ROOT / "Makefile", "-C", tmp_path, "demo", *arguments]
        # The variables of a make that runs these tests, such as `make test PYTHON=...`, would reach this one.
        outer = ("MAKEFLAGS", "MAKEOVERRIDES", "PYTHON", "VENV", "CONSTRAINTS")
        own = {name: value for name, value in os.environ.items() if name not in outer}
        done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=60)
        found = re.search(r"^(\S+)/bin/glow demo$", done.stdout, re.MULTILINE)
        return found[1] if found else done.stderr

    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    first, other = (python(tmp_path / "bin" / version, f"3, {version}") for version in ("11", "13"))
    assert environment() == environment(f"PYTHON={other}") == ".venv"
    python(tmp_path / ".venv" / "bin" / "python", "3, 11")
    assert environment() == environment(f"PYTHON={first}") == ".venv"
    assert environment(f"PYTHON={other}") == ".venv-3.13"
    assert environment(f"PYTHON={other}", "VENV=mine") == "mine"
    assert "nothing, the PYTHON that is named, does not run" in environment("PYTHON=nothing")


@pytest.mark.parametrize("version", ["3, 9", "3, 14"])
def test_pip_does_too(version):
    code = f"import sys; sys.version_info = ({version}, 0); exec(open('setup.py').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("glow_tf needs Python 3.10, 3.11, 3.12 or 3.13; this is ")
