"""The page gives access to nothing but itself, whoever asks, and however."""

import contextlib
import io
import json
import threading

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.demo.models import loaded

gradio = pytest.importorskip("gradio", reason="Gradio is not installed")

SECRET = b"a secret of this machine"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    patch = pytest.MonkeyPatch()
    # Gradio reads it whenever it stores a file.
    patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
    (folder / "secret").write_bytes(SECRET)
    Image.fromarray(np.full([8, 8, 3], 200, np.uint8)).save(folder / "secret.png")
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def built(folder):
    from glow_tf.demo import examples, page

    model = loaded("glow")
    return page.build(model, examples.of_model(model))


@pytest.fixture(scope="module")
def client(built, folder):
    import uvicorn

    from glow_tf.demo import look, server
    from glow_tf.serving.hosts import Hosts
    from glow_tf.serving.sockets import bind

    app = server.guarded(built, look.look(), Hosts("127.0.0.1"), folder / "uploads")
    listening = bind("127.0.0.1", 0)
    listening.listen()
    served = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    served.install_signal_handlers = lambda: None
    thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]})
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
        yield client
    served.should_exit = True
    thread.join()


def upload(client, name, content):
    reply = client.post("/gradio_api/upload", files={"files": (name, content)})
    assert reply.status_code == 200
    return reply.json()[0]


def of_file(path, **more):
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def join(client, function, data, session="s", url="queue/join"):
    document = {"fn_index": function, "data": data, "session_hash": session, "event_data": None, "trigger_id": None}
    return client.post(f"/gradio_api/{url}", json=document)


def outcome(client, session):
    """Returns the message that completes a function call, with its output or error."""
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: ") and json.loads(line[6:])["msg"] == "process_completed":
                return json.loads(line[6:])
    raise AssertionError("The function did not come to an end.")


def kept(folder):
    """The contents of all files in the folder that Gradio would serve them from."""
    return [file.read_bytes() for file in (folder / "uploads").rglob("*") if file.is_file()]


def test_no_function_takes_a_file_of_the_machine(client, built, folder):
    """Tries every input of every function, with the file by itself, in a list, and together with a URL."""
    count, secrets = 0, [str(folder / "secret"), str(folder / "secret.png")]
    for number, function in built.fns.items():
        for position in range(max(1, len(function.inputs))):
            for path in (*secrets, "/etc/passwd", "http://127.0.0.1:1/x", None):
                for value in (of_file(path), [of_file(path)], {"x": [of_file(path, url=path)]}):
                    data = [None] * len(function.inputs)
                    data[position : position + 1] = [value]
                    for url in ("queue/join", "run/predict"):
                        reply = join(client, number, data, url=url)
                        assert reply.status_code == 403, (number, position, value)
                        assert str(path) not in reply.text
                        count += 1
    assert count > 100
    assert not any(SECRET in content for content in kept(folder))


def test_no_way_round_what_is_looked_at(client, built, folder):
    number, position = next(
        (number, i)
        for number, function in built.fns.items()
        for i, block in enumerate(function.inputs)
        if isinstance(block, gradio.File)
    )
    mine = upload(client, "mine.png", b"no picture")
    data = [None] * len(built.fns[number].inputs)
    (folder / "uploads" / "link.png").symlink_to(folder / "secret.png")
    for path in (f"{mine}/../../../secret.png", str(folder / "uploads" / "link.png"), mine + "\0", mine + "x", [mine]):
        data[position] = of_file(path)
        assert join(client, number, data).status_code == 403
    (folder / "uploads" / "link.png").unlink()
    # An uploaded file, as an input that takes no file.
    other = next(n for n, function in built.fns.items() if function.inputs and n != number)
    assert join(client, other, [of_file(mine)]).status_code == 403
    body = json.dumps({"fn_index": number, "data": data, "session_hash": "s"})
    for content in (body[:-1], "[]", '{"data": {}}', '{"data": [' + "[" * 5000 + "]" * 5000 + "]}", b"\xff"):
        reply = client.post("/gradio_api/queue/join", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 403
    assert client.post("/gradio_api/queue/join", content=b" " * 100_000).status_code == 413


@pytest.mark.parametrize(
    "url",
    [
        *("/gradio_api/file={secret}", "/gradio_api/file/{secret}", "/file={secret}", "/gradio_api//file={secret}"),
        *("/gradio_api/%66ile={secret}", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://127.0.0.1:1/"),
        *("/static/../../../{secret}", "/static/%2e%2e/%2e%2e/%2e%2e/{secret}", "/assets/..%2f..%2f{secret}"),
        *("/gradio_api/custom_component/1/client/component/..%2f{secret}", "/gradio_api/deep_link", "/gradio_api/runs"),
        *("/monitoring", "/gradio_api/vibe-code", "/docs", "/openapi.json", "/gradio_api/openapi.json"),
        *("/gradio_api/stream/s/1/1/playlist.m3u8", "/gradio_api/call/draw/1", "/gradio_api/run/predict"),
    ],
)
def test_no_address_gives_a_file(client, folder, url):
    reply = client.get(url.format(secret=folder / "secret"))
    assert reply.status_code in (403, 404)
    assert SECRET not in reply.content and str(folder) not in reply.text


@pytest.mark.parametrize(
    "url", ["run/draw", "api/predict", "call/draw", "call/v2/draw", "process_recording", "vibe-edit"]
)
def test_no_other_address_runs_a_function(client, folder, url):
    document = {"fn_index": 0, "data": [0.7, 1, 0, of_file(str(folder / "secret"))], "session_hash": "q"}
    reply = client.post(f"/gradio_api/{url}", json=document)
    assert reply.status_code == 404 and str(folder) not in reply.text
    assert not any(SECRET in content for content in kept(folder))


def test_foreign_hosts_and_pages_are_refused(client):
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}):
        reply = client.get("/config", headers=headers)
        assert reply.status_code == 403
        assert not [name for name in reply.headers if name.startswith("access-control")]


def test_uploads_work(client, built):
    """Uploads to every picker, as its file input does; the note names what is not a picture, but no path."""
    number = 0
    for function, block in ((n, f) for n, f in built.fns.items() if any(isinstance(i, gradio.File) for i in f.inputs)):
        for content, why in ((_png(20, 30), ""), (b"milk, eggs", "cannot be read"), (_png_of_size(13_300, 13_300), "")):
            number += 1
            path = upload(client, "my picture.png", content)
            data = [
                of_file(path, orig_name="my picture.png") if isinstance(i, gradio.File) else None for i in block.inputs
            ]
            assert join(client, function, data, f"upload{number}").status_code == 200
            found = outcome(client, f"upload{number}")
            assert found["success"], found
            assert why in json.dumps(found["output"]["data"])
            assert path.rpartition("/")[0] not in json.dumps(found)
    assert number


def _png(height, width):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, [height, width, 3], np.uint8)).save(file, "PNG")
    return file.getvalue()


def _png_of_size(height, width):
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_what_is_uploaded_is_bounded(client):
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        reply = client.post("/gradio_api/upload", files={"files": ("large", bytes(66 << 20))})
        assert reply.status_code == 413
    assert client.get("/config").status_code == 200
