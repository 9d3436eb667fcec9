"""The wheel as users get it: built, installed in a new environment, and used in an otherwise empty folder."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile

import numpy as np
import pytest
from PIL import Image

from glow_tf import cli, flagfiles

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="bin is Scripts there")]
ROOT = pathlib.Path(__file__).parent.parent
# With the package, all that a wheel is built from. They are copied, as earlier builds leave files beside them.
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
PATIENCE_S = 600
TINY = ("--image_size=8", "--K=1", "--L=2", "--width=8", "--batch_size=8", "--samples=4")
NOISE = re.compile(r"cuda|cuInit|oneDNN|absl::|^[IWE]\d{4} ", re.MULTILINE)


def environment():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL")}


def run(*command, cwd):
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, env=environment(), text=True, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    # `glow` is quiet; plain Python that imports TensorFlow need not be.
    assert pathlib.Path(command[0]).name != "glow" or not NOISE.search(done.stderr), done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "glow_tf", source / "glow_tf", ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir=dist", ".", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def glow(wheel, tmp_path_factory):
    """The `glow` command of a new environment, with the dependencies of this one and glow_tf from the wheel."""
    root = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", root, cwd=root)
    python = root / "bin" / "python"
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = pathlib.Path(run(python, "-c", find, cwd=root).stdout.strip())
    # Searched after the packages of the environment itself. The .pth files there are read too, such as that of
    # setuptools, through which Python 3.12 and later find distutils.
    (packages / "dependencies.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel, cwd=root)
    return root / "bin" / "glow"


@pytest.fixture(scope="module")
def folder(glow, tmp_path_factory):
    """The working folder of all tests, with a model that was trained there."""
    folder = tmp_path_factory.mktemp("anywhere")
    schedule = ("--steps=4", "--checkpoint_every=4", "--eval_every=4", "--sample_every=4", "--warmup_steps=1")
    done = run(glow, "train", "--model_dir=run", *TINY, *schedule, cwd=folder)
    assert "test bits/dim: " in done.stdout
    return folder


def test_what_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("dist-info/METADATA"))
    assert {f"glow_tf/flagfiles/{name}.flags" for name in flagfiles.names()} <= names
    assert {
        "glow_tf/pretrained/16x16/config.json",
        "glow_tf/pretrained/32x32/config.json",
        "glow_tf/data/people.npz",
        "glow_tf/data/people.LICENSE.md",
    } <= names
    for size in ("16x16", "32x32"):
        assert any(name.startswith(f"glow_tf/pretrained/{size}/checkpoints/") for name in names)
    assert {pathlib.PurePath(name).name for name in names if "/licenses/" in name} == {"LICENSE", "people.LICENSE.md"}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"glow_tf"}
    assert "Requires-Python: <3.14,>=3.10" in metadata
    assert {"serve", "demo"} <= set(re.findall(r"^Provides-Extra: (\w+)", metadata, re.MULTILINE))


def test_the_command_is_there(glow, folder):
    assert all(name in run(glow, "--help", cwd=folder).stdout for name in cli.COMMANDS)
    assert "celeba_hq_256" in run(glow, "flags", cwd=folder).stdout
    python = glow.parent / "python"
    where = run(python, "-c", "import glow_tf; print(glow_tf.__file__)", cwd=folder).stdout
    assert where.startswith(str(glow.parent.parent))
    code = "import glow_tf; print(glow_tf.load('pretrained').sample(2).shape)"
    assert run(python, "-c", code, cwd=folder).stdout == "(2, 16, 16, 3)\n"


def test_sample_and_evaluate(glow, folder):
    done = run(glow, "sample", "--model_dir=run", "--num=4", "--columns=2", "--scale=1", "--output=s.png", cwd=folder)
    assert not done.stderr
    with Image.open(folder / "s.png") as picture:
        assert picture.size[0] >= 16
    assert "bits/dim: " in run(glow, "evaluate", "--model_dir=run", "--limit=8", cwd=folder).stdout


def test_export_and_serve(glow, folder):
    pytest.importorskip("uvicorn")
    run(glow, "export", "--model_dir=run", "--output=models/1", cwd=folder)
    with answering([glow, "serve", "--saved_model=models/1", "--port=0"], folder) as address:
        body = json.dumps({"signature_name": "sample", "inputs": {"num": 2, "temperature": 0.7, "seed": 1}}).encode()
        url, kind = f"{address}/v1/models/glow:predict", {"Content-Type": "application/json"}
        reply = urllib.request.urlopen(urllib.request.Request(url, body, kind), timeout=PATIENCE_S)
        images = np.array(json.load(reply)["outputs"])
    assert images.shape == (2, 8, 8, 3)


def test_demo(glow, folder):
    pytest.importorskip("gradio")
    with answering([glow, "demo", "--port=0", "--nobrowser"], folder) as address:
        assert b"<html" in urllib.request.urlopen(address, timeout=PATIENCE_S).read()


@contextlib.contextmanager
def answering(command, cwd):
    """Runs a server and yields its address; checks that it stops on SIGTERM."""
    command, log = [str(part) for part in command], cwd / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        found = next(filter(None, (re.search(r"http://[\d.]+:\d+", line) for line in process.stdout)), None)
        assert found, log.read_text()
        yield found[0]
        process.terminate()
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM), log.read_text()
        assert not NOISE.search(log.read_text()), log.read_text()
    finally:
        process.kill()
        process.wait()
