"""The page gives access to nothing but itself, whoever asks, and however."""

import asyncio
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

from glow_tf.demo.calls import Function, functions  # noqa: E402
from glow_tf.demo.gate import Gate  # noqa: E402
from glow_tf.demo.uploads import Uploads  # noqa: E402

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
    return page.build(model, examples.default_examples(model))


@pytest.fixture(scope="module")
def client(built, folder):
    import uvicorn

    from glow_tf.demo import look, server
    from glow_tf.serving.hosts import Hosts
    from glow_tf.serving.sockets import bind

    app = server.guarded(built, look.gradio_arguments(), Hosts("127.0.0.1"), folder / "uploads")
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
    assert reply.status_code == 200, reply.text
    return reply.json()[0]


def of_file(path, **more):
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def run(client, function, data, session="s", event=None):
    document = {"fn_index": function, "data": data, "session_hash": session, "event_data": event, "trigger_id": None}
    return client.post("/gradio_api/run/predict", json=document)


def function_of(built, *types):
    """The number of the first function whose inputs are of these types, for example of a `gr.Slider`."""
    return next(n for n, function in built.fns.items() if [type(block) for block in function.inputs] == list(types))


MULTIPART = b"multipart/form-data; boundary=b"
WHOLE = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\npicture\r\n--b--\r\n'


def ask(gate, path, messages=(), reads=True, kind=MULTIPART):
    """Sends a gate a POST request in these parts, and then nothing more; returns the status and text of its reply."""
    rest, sent = iter(messages), []

    async def receive():
        return next(rest, None) or await asyncio.sleep(60)

    async def send(message):
        sent.append(message)
        if not reads:
            await asyncio.sleep(60)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-type", kind)], "query_string": b""}

    async def asked():
        await gate(scope, receive, send)
        return sent[0]["status"], sent[1]["body"].decode()

    return asked()


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


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
                    reply = run(client, number, data)
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
        assert run(client, number, data).status_code == 403
    (folder / "uploads" / "link.png").unlink()
    # An uploaded file, as an input that takes no file.
    draw = function_of(built, gradio.Slider, gradio.Slider, gradio.Number, gradio.Dropdown)
    assert run(client, draw, [of_file(mine), 4, 0, -1]).status_code == 403
    body = json.dumps({"fn_index": number, "data": data, "session_hash": "s"})
    for content in (body[:-1], "[]", '{"data": {}}', '{"data": [' + "[" * 5000 + "]" * 5000 + "]}", b"\xff"):
        reply = client.post("/gradio_api/run/predict", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 403
    assert client.post("/gradio_api/run/predict", content=b" " * 100_000).status_code == 413


def test_nothing_but_what_the_page_sends(client, built, capsys):
    """Values that functions cannot take are refused before Gradio stores them, or prints a traceback."""
    draw, pick = function_of(built, gradio.Slider, gradio.Slider, gradio.Number, gradio.Dropdown), function_of(built)
    good = [0.7, 4, 0, -1]
    assert run(client, draw, good).status_code == 200
    assert run(client, draw, [0, 4, None, -1]).status_code == 200
    assert run(client, pick, [], event={"index": 3}).status_code == 200
    bad = {
        0: (None, "0.7", -1, 2, True, 1e400, [0.7], 10**400),
        2: ("0", True, float("nan"), 10**400),
        3: (0, "-1", True),
    }
    calls = [(draw, [*good[:i], value, *good[i + 1 :]]) for i, values in bad.items() for value in values]
    calls += [(draw, values) for values in ([], good[:3], [*good, 0], {"0": 0}, None)]
    calls += [(number, good) for number in ([], {}, None, "0", True, 10_000, -1, 0.0)]
    calls += [(draw, good, session) for session in (None, "", "x" * 33, [], 1, "s/../s")]
    calls += [(pick, [], "s", event) for event in (None, {}, [], {"index": "3"}, {"index": -1}, {"index": True})]
    for call in calls:
        content = json.dumps(
            dict(zip(("fn_index", "data", "session_hash", "event_data"), (*call, "s")[:4], strict=False))
        )
        reply = client.post("/gradio_api/run/predict", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 403, call
    assert "Traceback" not in capsys.readouterr().err


def test_few_visitors_are_remembered(client, built):
    """Anybody can invent visitors, each of whom takes memory."""
    assert run(client, function_of(built, gradio.Dropdown, gradio.State), [None, None], "visitor").status_code == 200
    assert "visitor" in built.state_holder.session_data
    assert built.state_holder.capacity <= 100


@pytest.mark.parametrize(
    "url",
    [
        *("/gradio_api/file={secret}", "/gradio_api/file/{secret}", "/file={secret}", "/gradio_api//file={secret}"),
        *("/gradio_api/%66ile={secret}", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://127.0.0.1:1/"),
        *("/static/../../../{secret}", "/static/%2e%2e/%2e%2e/%2e%2e/{secret}", "/assets/..%2f..%2f{secret}"),
        *("/gradio_api/custom_component/1/client/component/..%2f{secret}", "/gradio_api/deep_link", "/gradio_api/runs"),
        *("/monitoring", "/gradio_api/vibe-code", "/docs", "/openapi.json", "/gradio_api/openapi.json"),
        *("/gradio_api/stream/s/1/1/playlist.m3u8", "/gradio_api/call/draw/1", "/gradio_api/run/predict"),
        "/gradio_api/queue/data?session_hash=s",
    ],
)
def test_no_address_gives_a_file(client, folder, url):
    reply = client.get(url.format(secret=folder / "secret"))
    assert reply.status_code in (403, 404)
    assert SECRET not in reply.content and str(folder) not in reply.text


@pytest.mark.parametrize(
    "url",
    [
        *("run/draw", "api/predict", "call/draw", "call/v2/draw", "process_recording", "vibe-edit"),
        *("queue/join", "cancel", "reset"),
    ],
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


def test_uploads_work(client, built, folder):
    """Uploads to every picker, as its file input does; the note names what is not a picture, but no path.

    What was read is deleted.
    """
    number, before = 0, kept(folder)
    for function, block in ((n, f) for n, f in built.fns.items() if any(isinstance(i, gradio.File) for i in f.inputs)):
        for content, why in ((_png(20, 30), ""), (b"milk, eggs", "cannot be read"), (_png_of_size(13_300, 13_300), "")):
            number += 1
            path = upload(client, "my picture.png", content)
            data = [
                of_file(path, orig_name="my picture.png") if isinstance(i, gradio.File) else None for i in block.inputs
            ]
            found = run(client, function, data, f"upload{number}")
            assert found.status_code == 200
            assert why in json.dumps(found.json()["data"])
            assert path.rpartition("/")[0] not in found.text
            assert run(client, function, data).status_code == 403
    assert number
    assert kept(folder) == before
    assert not any(built.temp_file_sets)


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


def test_no_event_stream_stays_open(client):
    """Gradio would keep each heartbeat, and remember each name of an upload."""
    for url in ("heartbeat/s", "upload_progress?upload_id=invented"):
        reply = client.get(f"/gradio_api/{url}")
        assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/event-stream")


def test_slow_bodies_are_cut_off(tmp_path):
    uploads = Uploads(tmp_path, print)
    for seconds in ({"run_timeout_s": 0.05, "upload_timeout_s": 0.05}, {"progress_s": 0.05}):
        impatient = Gate(None, {}, uploads, **seconds)
        for path in ("/gradio_api/run/predict", "/gradio_api/upload"):
            for messages in ([], [part(b"--b\r\n")]):
                status, text = asyncio.run(ask(impatient, path, messages))
                assert status == 408 and "too long" in text


def test_uploads_may_take_longer_than_each_of_their_parts(tmp_path):
    gate = Gate(None, {}, Uploads(tmp_path, print), progress_s=0.3)
    filler = [part(bytes(1 << 16)) for _ in range(4)]
    head, tail = WHOLE.split(b"picture")
    rest = iter([part(head), *filler, part(tail, more=False)])

    async def slowly():
        await asyncio.sleep(0.1)
        return next(rest)

    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", MULTIPART)]
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": headers, "query_string": b""}
    asyncio.run(gate(scope, slowly, send))
    assert sent[0]["status"] == 200
    assert [path.stat().st_size for path in tmp_path.rglob("*.png")] == [4 << 16]


def test_few_functions_run_at_once(tmp_path):
    running, most = 0, 0

    async def app(scope, receive, send):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        await send({"status": 200})
        await send(await receive())

    gate = Gate(app, {0: Function((), selects=False)}, Uploads(tmp_path, print))
    call = [part(b'{"fn_index": 0, "data": [], "session_hash": "s", "username": "root"}', more=False)]

    async def many():
        # Clients that do not read their replies keep nobody waiting.
        idle = [asyncio.create_task(ask(gate, "/gradio_api/run/predict", call, reads=False)) for _ in range(9)]
        replies = await asyncio.wait_for(
            asyncio.gather(*(ask(gate, "/gradio_api/run/predict", call) for _ in range(9))), timeout=20
        )
        for task in idle:
            task.cancel()
        return replies

    for status, body in asyncio.run(many()):
        assert status == 200
        # Nothing else is passed on.
        assert json.loads(body) == {"fn_index": 0, "data": [], "session_hash": "s", "event_data": None}
    assert most == 2


def test_few_uploads_at_once(tmp_path):
    gate = Gate(None, {}, Uploads(tmp_path, print), upload_timeout_s=0.2)

    async def many():
        begun = [ask(gate, "/gradio_api/upload", [part(b"--b\r\n")]) for _ in range(6)]
        return [status for status, _ in await asyncio.gather(*begun)]

    async def one_beside_silent_ones():
        silent = [asyncio.create_task(ask(gate, "/gradio_api/upload")) for _ in range(9)]
        await asyncio.sleep(0)
        status, _ = await ask(gate, "/gradio_api/upload", [part(WHOLE, more=False)])
        await asyncio.gather(*silent)
        return status

    for _ in range(2):
        assert sorted(asyncio.run(many())) == [408] * 4 + [503] * 2
        assert asyncio.run(one_beside_silent_ones()) == 200


def test_broken_uploads_leave_nothing(tmp_path):
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    gate = Gate(None, {}, Uploads(tmp_path, print), upload_timeout_s=0.5)
    whole = head + b"picture\r\n--b--\r\n"
    for messages, expected in (
        ([part(head), part(bytes(3 << 20)), part(b"", more=False)], 400),
        ([part(head)] + [part(bytes(1 << 20))] * 66, 413),
        ([part(whole.replace(b"files", b"others"), more=False)], 400),
        ([part(whole[:-4] + b"\r\n" + whole, more=False)], 400),
        ([part(b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\ntext\r\n--b--\r\n', more=False)], 400),
        ([part(b"no form", more=False)], 400),
        ([part(whole, more=False)], 200),
    ):
        assert len(list(tmp_path.rglob("*"))) == 0
        status, text = asyncio.run(ask(gate, "/gradio_api/upload", messages))
        assert status == expected, text
    assert [path.read_bytes() for path in tmp_path.rglob("*.png")] == [b"picture"]


@pytest.mark.parametrize("kind", [b"application/x-www-form-urlencoded", b"text/plain", b""])
def test_other_forms_are_refused_unread(tmp_path, kind):
    gate, parts = Gate(None, {}, Uploads(tmp_path, print)), [part(b"a=1&" * 10_000) for _ in range(3)]
    asked = ask(gate, "/gradio_api/upload", parts, kind=kind)
    # Without an end of the body: what is read would be waited for.
    status, text = asyncio.run(asyncio.wait_for(asked, timeout=5))
    assert status == 400 and "a single file called `files`" in text


def test_components_whose_values_are_not_known_are_refused_when_the_page_is_built():
    with gradio.Blocks() as page:
        text = gradio.Textbox()
        text.submit(print, text)
    with pytest.raises(TypeError, match="Textbox"):
        functions(page)
