"""The command line: `glow serve` starts, prints its address, and stops on a signal."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import glow_tf
from glow_tf.commands import model_flags
from glow_tf.serving import server as serving
from glow_tf.serving import sockets
from glow_tf.serving.app import create_app
from glow_tf.serving.batching import Runner
from tests.commands.driver import run_commands
from tests.saved_models import examples, flow
from tests.serving import processes
from tests.serving.examples import IMAGES, Held

PREDICT = "/v1/models/glow:predict"


def ask(port, method, url, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, url, body, {"Content-Type": "application/json", **(headers or {})})
    response = connection.getresponse()
    document = json.loads(response.read())
    connection.close()
    return response.status, document


def raw(port, request):
    """Sends bytes, which need not be HTTP, and returns the start of the reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def test_the_first_line_says_how_to_ask(running):
    _, port, line = running
    url = f"http://127.0.0.1:{port}/v1/models/glow"
    assert line.startswith(f"serving {url} version 1 (Ctrl-C ends it); try: curl ")
    command = shlex.split(line.partition("; try: ")[2])
    assert command[0] == "curl" and command[-1] == f"{url}:predict"
    if shutil.which("curl"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert np.shape(json.loads(done.stdout)["outputs"]) == (1, 8, 8, 3)


def test_bodies_come_whole_or_in_chunks(running):
    _, port, _ = running
    body = json.dumps({"instances": IMAGES[:2].tolist()}).encode()
    whole = ask(port, "POST", PREDICT, body)
    assert whole[0] == 200 and len(whole[1]["predictions"]) == 2
    assert ask(port, "POST", PREDICT, iter([body[:1], body[1:]])) == whole
    for large in (b" " * 60_000, iter([b" " * 10_000] * 6)):
        status, document = ask(port, "POST", PREDICT, large)
        assert status == 413 and "0.05 MB" in document["error"]


def test_more_images_than_the_flag_allows_are_refused(running):
    _, port, _ = running
    body = json.dumps({"signature_name": "sample", "inputs": {"num": 501}})
    status, document = ask(port, "POST", PREDICT, body)
    assert status == 400 and re.search(r"\b500\b", document["error"]), document


def test_further_names_and_origins_are_those_of_the_flags(running):
    _, port, _ = running
    for host, status in (("proxy.example", 200), ("evil.example", 403)):
        assert ask(port, "GET", "/v1/models/glow", headers={"Host": host})[0] == status
    for origin, expected in (
        ("https://page.example", (200, "https://page.example")),
        ("https://evil.example", (403, None)),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/v1/models/glow", headers={"Origin": origin})
        response = connection.getresponse()
        assert (response.status, response.getheader("Access-Control-Allow-Origin")) == expected
        connection.close()


def test_what_is_no_http_does_no_harm(running):
    process, port, _ = running
    start = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    # Wrong content lengths. Here the rest of the body never arrives.
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(start + b"Content-Length: 1000\r\n\r\n{}")
    # Here the surplus is read as another request, which is invalid.
    assert b"HTTP/1.1 400" in raw(port, start + b"Content-Length: 2\r\n\r\n{}{}{}{}\r\n\r\n")
    assert b"HTTP/1.1 400" in raw(port, start + b"Content-Length: -5\r\n\r\n{}")
    assert b"HTTP/1.1 400" in raw(port, b"\x16\x03\x01no http\r\n\r\n")
    assert ask(port, "GET", "/v1/models/glow")[0] == 200
    assert process.poll() is None


@pytest.mark.slow
def test_a_model_directory_is_exported_first(tmp_path):
    glow_tf.save(flow("grey"), tmp_path / "grey")
    # Larger than what is decoded by default.
    file = io.BytesIO()
    Image.new("L", (8008, 8000)).save(file, "PNG")
    with processes.server(tmp_path / "grey", "--max_megapixels=65", "--name=small") as (_, port, line):
        assert "/v1/models/small version 1 (Ctrl-C ends it)" in line
        inputs = {"images": examples(flow("grey").config, 1).tolist()}
        body = json.dumps({"signature_name": "encode", "inputs": inputs})
        status, document = ask(port, "POST", "/v1/models/small:predict", body)
        inputs = {"image_bytes": [{"b64": base64.b64encode(file.getvalue()).decode()}]}
        body = json.dumps({"signature_name": "encode_bytes", "inputs": inputs})
        status_of_large, large = ask(port, "POST", "/v1/models/small:predict", body)
    assert status_of_large == 200, large
    assert status == 200
    latents = flow("grey").encode(examples(flow("grey").config, 1))
    np.testing.assert_allclose(document["outputs"], latents, atol=1e-4)


@pytest.mark.slow
def test_a_signal_while_the_model_is_exported_leaves_nothing_behind(tmp_path):
    glow_tf.save(flow("grey"), tmp_path / "grey")
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "tools.serve", f"--model_dir={tmp_path / 'grey'}", "--port=0"]
    environment = {**processes.ENVIRONMENT, "TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen(command, cwd=processes.ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (line := process.stderr.readline()).startswith("Exporting"):
            assert line, "it ended"
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in err, err[-3000:]
    assert not [path.name for path in (tmp_path / "temporary").iterdir() if path.name.startswith("glow_tf")]


def test_a_saved_model_is_served_without_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setattr(model_flags, "FLAGS", types.SimpleNamespace(model_dir=str(tmp_path)))
    with model_flags.temporary_saved_model("glow_tf_") as path:
        assert path == tmp_path


def test_requests_without_a_host_are_answered_in_http_1_0_alone(running):
    _, port, _ = running
    assert b" 200 " in raw(port, b"GET /v1/models/glow HTTP/1.0\r\n\r\n")
    assert b" 400 " in raw(port, b"GET /v1/models/glow HTTP/1.1\r\n\r\n")


@pytest.mark.slow
def test_what_cannot_be_served_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        results = run_commands(
            tmp_path,
            {
                "none": ["serve"],
                "missing": ["serve", "--saved_model=missing", "--port=0"],
                "empty": ["serve", f"--saved_model={tmp_path}", "--port=0"],
                "taken": ["serve", f"--saved_model={tmp_path}", f"--port={port}"],
                "limits": ["serve", "--timeout_s=0"],
                "endless": ["serve", "--timeout_s=inf"],
                "all names": ["serve", "--saved_model=missing", "--port=0", "--allowed_hosts=*"],
                # Refused before the model is looked for.
                "no number": ["serve", "--saved_model=missing", "--port=0", "--timeout_s=nan"],
                "no origin": ["serve", "--saved_model=missing", "--port=0", "--cors_origin=page.example"],
            },
        )
    expected = {
        "none": "--saved_model must name a SavedModel",
        "missing": "missing is not there; glow export writes SavedModels.",
        "empty": "is neither a SavedModel nor a folder of SavedModels named by numbers.",
        "taken": f"--host=127.0.0.1 --port={port} cannot be served: Address already in use",
        "all names": "further name '*' must be a host name",
        "no number": "timeout_s must be positive and finite; it is nan.",
        "no origin": "The origin 'page.example' must be *, null or like https://example.org",
    }
    for name, why in expected.items():
        code, out, err = results[name]
        assert (code, out) == (1, "") and re.fullmatch(rf"error: .*{re.escape(why)}.*\n", err), (name, err)
    assert results["limits"][0] == results["endless"][0] == "IllegalFlagValueError"


@pytest.mark.slow
def test_without_a_web_server_the_way_out_is_said(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(name='uvicorn')")
    results = run_commands(tmp_path, {"serve": ["serve", "--saved_model=x"]})
    assert results["serve"] == (1, "", "error: uvicorn is not installed; pip install 'glow_tf[serve]' does it.\n")


def test_a_request_under_way_is_finished_before_the_end(model):
    held, bound = Held(model), sockets.bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    before = signal.getsignal(signal.SIGTERM)

    def stop():
        held.entered.acquire()
        os.kill(os.getpid(), signal.SIGTERM)
        # Once the server accepts no more connections, it is waiting for the request under way.
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
            while True:
                socket.create_connection(("127.0.0.1", port), timeout=60).close()
        held.go.set()

    with ThreadPoolExecutor(2) as threads:
        started = []

        def ready():
            body = json.dumps({"instances": IMAGES[:1].tolist()})
            started.extend([threads.submit(ask, port, "POST", PREDICT, body), threads.submit(stop)])

        serving.serve(create_app(model, held), bound, ready, timeout_s=60)
        status, document = started[0].result(timeout=60)
        started[1].result(timeout=60)
    assert status == 200 and len(document["predictions"]) == 1
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_connection_ends_it(model, number):
    before = signal.getsignal(number)
    app = create_app(model, Runner(model, max_batch_size=1))
    serving.serve(app, sockets.bind("127.0.0.1", 0), lambda: os.kill(os.getpid(), number), timeout_s=60)
    assert signal.getsignal(number) is before
