"""`glow demo` prints one line and exits with code 1 if it cannot start."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from glow_tf.serving.sockets import bind
from tests.commands.driver import ROOT, run_commands
from tests.marks import slow
from tests.saved_models import saved

MISTAKES = {
    "no saved model": (["--saved_model=nowhere"], "error: nowhere holds no SavedModel"),
    "flat vectors": (["--saved_model=flat"], "error: flat is a model of flat vectors, which have no picture."),
    "no images": (["--images=nowhere.png"], "error: --images: nowhere.png is not there."),
    "one image": (["--images=one.png"], "error: --images needs at least two pictures"),
    "no picture": (["--images=notes.png,one.png"], "error: notes.png cannot be read as a picture."),
    "port in use": (
        ["--port={port}"],
        "error: --host=127.0.0.1 --port={port} cannot be served: Address already in use",
    ),
    "no such host": (["--host=203.0.113.7"], "error: --host=203.0.113.7 --port=0 cannot be served"),
}


# All other cases load a model.
QUICK = ("no saved model", "flat vectors")
OTHERS = tuple(name for name in MISTAKES if name not in QUICK)


@pytest.fixture(scope="module", params=[QUICK, slow((OTHERS,))], ids=["quick", "with a model"])
def results(request, tmp_path_factory):
    pytest.importorskip("gradio", reason="Gradio is not installed")
    directory = tmp_path_factory.mktemp("commands")
    shutil.copytree(saved("flat"), directory / "flat")
    Image.fromarray(np.zeros([9, 9, 3], np.uint8)).save(directory / "one.png")
    (directory / "notes.png").write_text("milk, eggs")
    model = directory / "flat" if request.param == QUICK else saved("glow")
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        commands = {
            name: ["demo", f"--saved_model={model}", "--port=0", "--nobrowser", *MISTAKES[name][0]]
            for name in request.param
        }
        commands = {name: [flag.format(port=port) for flag in flags] for name, flags in commands.items()}
        found = run_commands(directory, commands)
    return port, found


@pytest.mark.slow
def test_a_mistake_is_one_line(results):
    port, found = results
    for name, (code, out, err) in found.items():
        assert code == 1, name
        assert err.startswith(MISTAKES[name][1].format(port=port)), name
        assert err.count("\n") == 1, name
        assert "The page is at" not in out, name


@pytest.mark.slow
def test_without_gradio():
    code = "import sys; sys.modules['gradio'] = None; from tools import command, demo; command.run(demo.main)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**os.environ}, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: The page needs Gradio: pip install 'glow_tf[demo]'."


@pytest.mark.slow
def test_a_kill_while_the_model_loads_leaves_nothing_behind(tmp_path):
    pytest.importorskip("gradio", reason="Gradio is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.demo", "--port=0", "--nobrowser"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "Getting the pretrained model ready" in process.stdout.readline()
        assert list(tmp_path.iterdir())
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in errors
