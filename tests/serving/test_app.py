"""The REST API in process: every signature in both formats, and every kind of invalid request."""

import asyncio
import gzip
import io
import json
import logging
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from glow_tf.data.images import decode_file
from glow_tf.serving import app as application
from glow_tf.serving.app import Limits, create_app, images_at_once, most_images
from glow_tf.serving.batching import Runner
from glow_tf.serving.errors import RequestError
from glow_tf.serving.json_worker import Json
from glow_tf.serving.signature import Signature, Spec
from tests.marks import slow
from tests.serving.examples import (
    FILES,
    IMAGES,
    LATENTS,
    Held,
    as_json,
    assert_same,
    by_rows,
    direct,
    inputs_of,
    photograph,
    some_signatures,
)

URL = "/v1/models/glow"
IMAGE = IMAGES[0].tolist()


class Client:
    """Sends requests to an application, each in its own event loop unless several are sent at once."""

    def __init__(self, app):
        self.transport = httpx.ASGITransport(app)

    def __call__(self, method, url, **kwargs):
        return self.at_once([(method, url, kwargs)])[0]

    def predict(self, document, url=f"{URL}:predict"):
        content = document if isinstance(document, bytes | str) else json.dumps(document)
        return self("POST", url, content=content)

    def at_once(self, requests, then=lambda: None):
        async def run():
            options = {"base_url": "http://localhost", "headers": {"content-type": "application/json"}, "timeout": 60}
            async with httpx.AsyncClient(transport=self.transport, **options) as client:
                tasks = [asyncio.create_task(client.request(method, url, **kw)) for method, url, kw in requests]
                await asyncio.to_thread(then)
                return await asyncio.gather(*tasks)

        return asyncio.run(run())


def error_of(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (message,) = response.json().values()
    assert set(response.json()) == {"error"} and message and "\n" not in message
    return message


@pytest.fixture(scope="module")
def client(model):
    return Client(create_app(model, Runner(model, max_batch_size=4)))


@pytest.fixture(scope="module")
def conditional_client(conditional):
    return Client(create_app(conditional, Runner(conditional, max_batch_size=1)))


@pytest.mark.parametrize("name", [slow("model"), "conditional"])
def test_every_signature_gives_what_tensorflow_gives(name, request):
    model = request.getfixturevalue(name)
    # Without batching, which has its own tests: TensorFlow takes a second for the first batch of each signature.
    client = Client(create_app(model, Runner(model, max_batch_size=1)))
    for name in some_signatures(model):
        url = f"/v1/models/{model.name}/versions/1:predict"
        inputs = inputs_of(model, name)
        values = {key: as_json(value) for key, value in inputs.items()}
        expected = direct(model, name, inputs)
        response = client.predict({"signature_name": name, "inputs": values}, url)
        assert response.status_code == 200, response.text
        (only, *others) = expected.values()
        assert_same(response.json(), {"outputs": expected if others else only})
        if not model.signatures[name].has_rows:
            assert error_of(client.predict({"signature_name": name, "instances": [values]}, url), 400)
            continue
        instances = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        response = client.predict({"signature_name": name, "instances": instances}, url)
        assert_same(response.json(), {"predictions": by_rows(expected)})


def test_inputs_left_out_have_the_defaults_of_the_signature(client, model):
    def column(name, inputs):
        return client.predict({"signature_name": name, "inputs": inputs}).json()

    assert_same(column("sample", 2), column("sample", {"num": 2, "temperature": 1, "seed": 0}))
    assert column("sample", 2) != column("sample", {"num": 2, "seed": 1})
    rows = client.predict({"signature_name": "log_prob", "instances": [IMAGE]}).json()
    assert_same(rows, {"predictions": by_rows(direct(model, "serving_default", {"images": IMAGES[:1]}))})
    direction = LATENTS[:1]
    instance = {"images": IMAGE, "direction": direction[0].tolist()}
    found = client.predict({"signature_name": "manipulate", "instances": [instance, instance]}).json()
    inputs = {"images": IMAGES[[0, 0]], "direction": direction, "scale": np.ones(1, np.float32)}
    assert_same(found, {"predictions": direct(model, "manipulate", inputs)["images"]})


def test_the_default_signature_and_the_newest_version_need_no_name(client):
    assert client.predict({"instances": [IMAGE]}).json() == client.predict({"instances": [{"images": IMAGE}]}).json()
    assert "outputs" in client.predict({"inputs": [IMAGE]}).json()


def test_status_and_metadata(client, model):
    for url in (URL, f"{URL}/versions/1"):
        assert client("GET", url).json() == model.status()
        assert client("GET", f"{url}/metadata").json() == model.metadata()


def test_numbers_that_are_none_reach_the_graph(client):
    """The graph refuses NaN and infinity, as the images would be black."""
    latents = LATENTS[0].tolist()
    latents[0] = float("nan")
    found = client.predict({"signature_name": "decode", "inputs": [latents]})
    assert found.status_code == 400 and "Latents must be finite" in found.json()["error"]
    body = json.dumps({"signature_name": "sample", "inputs": {"num": 1, "temperature": 1}}).replace("1}", "Infinity}")
    found = client.predict(body)
    assert found.status_code == 400 and "temperature must be finite and not negative" in found.json()["error"]


@pytest.mark.parametrize(
    "method,url,status",
    [
        ("POST", "/v1/models/half:predict", 404),
        ("POST", f"{URL}/versions/2:predict", 404),
        ("POST", f"{URL}/versions/{'9' * 5000}:predict", 404),
        ("GET", f"{URL}/versions/one", 404),
        ("GET", "/v1/models/half", 404),
        ("GET", "/v1/models/half/metadata", 404),
        ("GET", "/", 404),
        ("GET", f"{URL}:predict", 405),
        ("DELETE", f"{URL}/versions/1:predict", 405),
        ("POST", URL, 405),
        ("PUT", f"{URL}/metadata", 405),
    ],
)
def test_other_addresses_and_methods(client, method, url, status):
    response = client(method, url)
    message = error_of(response, status)
    assert "/v1/models/glow:predict" in message if status == 404 else response.headers["allow"]


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_all_signatures_are_for_predict(client, method):
    for url in (URL, f"{URL}/versions/1"):
        message = error_of(client("POST", f"{url}:{method}", content="{}"), 400)
        assert f"tensorflow/serving/{method}" in message and ":predict" in message


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_a_request_must_say_that_it_is_json(client, kind):
    """A web page may send some of these types to any server without a preflight request."""
    document = {"content": json.dumps({"instances": [IMAGE]}), "headers": {"content-type": kind}}
    assert "application/json" in error_of(client("POST", f"{URL}:predict", **document), 415)
    document["headers"] = {"content-type": "Application/JSON; charset=utf-8"}
    assert client("POST", f"{URL}:predict", **document).status_code == 200


def test_a_request_may_be_compressed(client):
    body = json.dumps({"instances": [IMAGE]}).encode()
    plain = client.predict(body)

    def compressed(content, encoding="gzip"):
        return client("POST", f"{URL}:predict", content=content, headers={"content-encoding": encoding})

    found = compressed(gzip.compress(body))
    assert (found.status_code, found.json()) == (200, plain.json())
    assert "not:" in error_of(compressed(body), 400)
    assert "broken off" in error_of(compressed(gzip.compress(body)[:-10]), 400)
    assert "'br'" in error_of(compressed(body, "br"), 415)
    assert "decompressed" in error_of(compressed(gzip.compress(b" " * 40_000_000)), 413)
    assert "broken off" in error_of(compressed(gzip.compress(body)[:-4] + bytes(4)), 400)


@pytest.mark.parametrize(
    "document,why",
    [
        ("{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ({"inputs": [IMAGE], "instances": [IMAGE]}, "either"),
        ({"signature_name": "__saved_model_init_op", "inputs": {}}, "no signature"),
        ({"instances": [{"image": IMAGE}]}, "no input 'image'; its inputs are images"),
        ({"signature_name": "decode", "inputs": {}}, "needs the input latents"),
        ({"instances": [[[[1.5] * 3] * 8] * 8]}, "1.5 is a number"),
        ({"instances": [[[[300] * 3] * 8] * 8]}, "300 is not between 0 and 255"),
        ({"instances": [[[[1] * 3] * 8] * 7]}, r"images must have shape [B, 8, 8, 3] and dtype uint8; the shape found"),
        ({"instances": [IMAGE, IMAGE[1:]]}, "ragged"),
        (
            {"instances": [{}, {f"{i:03}" + 97 * "x": 0 for i in range(300)}]},
            f"differ in '000{97 * 'x'}', '001{97 * 'x'}', '002{97 * 'x'}' and 297 more.",
        ),
        ({"signature_name": "encode_bytes", "instances": [{"b64": "?"}]}, "bad base64"),
        (
            {"signature_name": "encode_bytes", "instances": ["text"]},
            "assertion failed: [image_bytes must be PNG or JPEG",
        ),
        (
            {"signature_name": "encode_bytes", "instances": [as_json(FILES[0][:50])]},
            "PNG",
        ),
        (
            {"signature_name": "sample", "inputs": {"num": -2}},
            "assertion failed: [num must not be negative; it is] [-2]",
        ),
        ({"signature_name": "sample", "inputs": {"num": 10**9}}, "about 1000000000 images; the server takes 1024"),
        ({"signature_name": "sample", "inputs": {"num": 2**40}}, "num must have shape [] and dtype int32"),
        ({"signature_name": "interpolate", "inputs": {"start": [IMAGE], "end": [IMAGE] * 2}}, "equally many images"),
        (
            {"signature_name": "manipulate", "inputs": {"images": [IMAGE] * 3, "direction": LATENTS[:2].tolist()}},
            "direction must have one row",
        ),
    ],
)
def test_bad_requests_are_told_what_is_wrong(client, document, why):
    assert why in error_of(client.predict(document), 400)


def test_bad_labels_are_the_graphs_to_refuse(conditional_client):
    document = {"signature_name": "encode", "inputs": {"images": [IMAGE], "labels": [0, 1]}}
    message = error_of(conditional_client.predict(document, "/v1/models/conditional:predict"), 400)
    assert message.startswith("assertion failed: [labels needs one entry")


@pytest.mark.parametrize("stated", [None, "10", "99999999"])
def test_a_body_that_is_too_large_is_refused_whatever_its_header_says(model, stated):
    client = Client(create_app(model, Runner(model, max_batch_size=1), Limits(max_request_mb=0.01)))
    sent = []

    async def body():
        for _ in range(100):
            sent.append(1000)
            yield b" " * 1000

    headers = {"content-length": stated} if stated else {}
    message = error_of(client("POST", f"{URL}:predict", content=body(), headers=headers), 413)
    assert "0.01 MB" in message
    assert sum(sent) < 50_000
    # A client that waits for 100-continue is not asked for its body.
    sent.clear()
    if stated == "99999999":
        error_of(client("POST", f"{URL}:predict", content=body(), headers={**headers, "expect": "100-continue"}), 413)
    assert client.predict({"instances": [IMAGE]}).status_code == 200


def test_more_requests_than_the_server_takes_are_told_to_come_again(model):
    held = Held(model)
    client = Client(create_app(model, held, Limits(max_pending=2)))
    request = ("POST", f"{URL}:predict", {"content": json.dumps({"instances": [IMAGE]})})

    def then():
        # By the time both accepted requests run, the others have been refused.
        held.entered.acquire()
        held.entered.acquire()
        held.go.set()

    responses = client.at_once([request] * 5, then)
    assert sorted(response.status_code for response in responses) == [200, 200, 503, 503, 503]
    (refused, *_) = (response for response in responses if response.status_code == 503)
    assert "too many requests" in error_of(refused, 503) and refused.headers["retry-after"] == "1"
    assert client.predict({"instances": [IMAGE]}).status_code == 200


@pytest.mark.slow
def test_what_takes_too_long_is_given_up_on(model):
    held = Held(model)
    client = Client(create_app(model, held, Limits(timeout_s=0.2)))
    assert "longer than 0.2 seconds" in error_of(client.predict({"instances": [IMAGE]}), 504)
    held.go.set()

    async def never():
        yield b"{"
        await asyncio.sleep(30)

    assert "too long to arrive" in error_of(client("POST", f"{URL}:predict", content=never()), 408)


def test_what_nobody_expected_is_one_line_in_the_log(model, caplog):
    class Failing:
        def run(self, request, deadline):
            raise RuntimeError("first line\nsecond line")

    client = Client(create_app(model, Failing()))
    with caplog.at_level(logging.ERROR, "glow_tf.serving"):
        message = error_of(client.predict({"instances": [IMAGE]}), 500)
    assert "log" in message
    assert [record.getMessage() for record in caplog.records] == [
        "unexpected error: RuntimeError: first line second line"
    ]


def test_long_messages_are_cut(model):
    class Failing:
        def run(self, request, deadline):
            raise RequestError("x" * 10**6)

    message = error_of(Client(create_app(model, Failing())).predict({"instances": [IMAGE]}), 400)
    assert message == f"{1000 * 'x'} ..."


def test_photographs_of_any_size_are_fitted_as_for_training(model):
    client = Client(create_app(model, Runner(model), Limits(max_megapixels=0.125)))
    files = [photograph(300, 400), photograph(90, 40, "PNG"), photograph(3, 5)]

    def predict(signature, files):
        return client.predict({"signature_name": signature, "instances": [as_json(file) for file in files]})

    fitted = np.stack([decode_file(io.BytesIO(file), (8, 8, 3), enlarge=True) for file in files])
    assert_same(
        predict("encode_bytes", files).json()["predictions"], direct(model, "encode", {"images": fitted})["latents"]
    )
    assert "must be 8 pixels high and 8 wide" in error_of(predict("encode_bytes_exact", files), 400)
    message = error_of(predict("encode_bytes", [files[1], photograph(300, 420)]), 400)
    assert message.startswith("image_bytes number 1, from 0, has 300x420 pixels, that is 0.1 million; the server takes")


def test_replies_that_clients_are_slow_to_read_are_bounded(model, monkeypatch):
    class Large:
        def run(self, request, deadline):
            return {"latents": np.zeros(100_000, np.float32)}

    # Each reply has 400 KB, in memory as in its text, of which 64 KB are free.
    monkeypatch.setattr(application, "_REPLY_BYTES", 600_000)
    app = create_app(model, Large(), Limits(max_images=1))
    body = json.dumps({"instances": [IMAGE]}).encode()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": f"{URL}:predict", "headers": headers, "query_string": b""}

    async def ask(at_end, may_end):
        sent = []

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            if message["type"] == "http.response.body" and not message.get("more_body"):
                at_end.set()
                await may_end.wait()
            sent.append(message)

        await app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    async def run():
        at_end, may_end = asyncio.Event(), asyncio.Event()
        slow = asyncio.create_task(ask(at_end, may_end))
        await at_end.wait()
        status, why = await ask(at_end, at_end)
        assert status == 503 and b"too many large requests already" in why
        may_end.set()
        for status, content in (await slow, await ask(at_end, at_end)):
            assert status == 200 and json.loads(content) == {"predictions": [0.0] * 100_000}

    asyncio.run(run())


def test_outputs_that_wait_to_be_written_are_bounded(model, monkeypatch):
    class Large:
        def run(self, request, deadline):
            return {"latents": np.zeros(100_000, np.float32)}

    monkeypatch.setattr(application, "_REPLY_BYTES", 600_000)
    writing, go = threading.Event(), threading.Event()
    write = Json.reply

    def held(*arguments):
        writing.set()
        go.wait(60)
        return write(*arguments)

    monkeypatch.setattr(Json, "reply", held)
    app = create_app(model, Large(), Limits(max_images=1))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(Client(app).predict, {"instances": [IMAGE]})
        assert writing.wait(60)
        assert "too many large requests" in error_of(Client(app).predict({"instances": [IMAGE]}), 503)
        go.set()
        assert first.result().status_code == 200
    assert Client(app).predict({"instances": [IMAGE]}).status_code == 200


def test_compressed_requests_count_with_what_they_become(model):
    """Five requests of 5 KB each that become 5 MB each; there is room for four of the largest size."""
    held = Held(model)
    client = Client(create_app(model, held, Limits(max_request_mb=5.0)))
    content = gzip.compress(json.dumps({"instances": [IMAGE]}).encode().ljust(4_900_000))
    request = ("POST", f"{URL}:predict", {"content": content, "headers": {"content-encoding": "gzip"}})

    def then():
        for _ in range(4):
            held.entered.acquire()
        held.go.set()

    responses = client.at_once([request] * 5, then)
    assert sorted(response.status_code for response in responses) == [200] * 4 + [503]
    assert client(*request[:2], **request[2]).status_code == 200


def test_a_client_that_sends_no_body_keeps_out_nobody(model):
    app = create_app(model, Runner(model, max_batch_size=1), Limits(max_pending=1))
    reading = threading.Event()

    async def endless():
        yield b"{"
        reading.set()
        await asyncio.sleep(600)

    async def run():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            options = {"headers": {"content-type": "application/json"}, "timeout": 60}
            silent = asyncio.create_task(client.post(f"{URL}:predict", content=endless(), **options))
            await asyncio.to_thread(reading.wait, 60)
            response = await client.post(f"{URL}:predict", json={"instances": [IMAGE]}, **options)
            silent.cancel()
            return response.status_code

    assert asyncio.run(run()) == 200


def test_a_large_body_that_stops_coming_is_given_up_on(model, monkeypatch):
    monkeypatch.setattr(application, "_PROGRESS_S", 0.1)
    client = Client(create_app(model, Runner(model, max_batch_size=1), Limits(timeout_s=600)))

    async def endless():
        yield b" " * 100_000
        await asyncio.sleep(600)

    assert "too long to arrive" in error_of(client("POST", f"{URL}:predict", content=endless()), 408)


def test_fewer_images_by_default_if_they_are_large():
    def default(side, *others, largest_tensor=0):
        images = Spec("images", "uint8", (None, side, side, 3))
        outputs = {spec.name: spec for spec in (images, *others)}
        # Attributes are not for each image, however many there are.
        attributes = {"directions": Spec("directions", "float32", (40, side * side * 3))}
        signatures = [Signature("reconstruct", {}, outputs, {}), Signature("attributes", {}, attributes, {})]
        signatures = {found.name: found for found in signatures}
        return most_images(types.SimpleNamespace(signatures=signatures, largest_tensor=largest_tensor))

    assert default(64) == 1024
    # 2**24 numbers.
    assert default(128) == 341
    assert default(128, Spec("latents", "float32", (None, 128 * 128 * 3))) == 170
    assert default(4096) == 1
    # 512 hidden channels of 128x128, 1 GiB for 32 images.
    assert default(64, largest_tensor=128 * 128 * 512) == 32


def test_a_small_number_of_images_in_a_request_does_not_prevent_batches(model):
    assert images_at_once(model, max_images=1, max_batch_size=32) == 32
    assert images_at_once(model, max_images=500, max_batch_size=32) == 1000
    # By default memory limits the number.
    assert images_at_once(model, None, max_batch_size=4096) == 2 * 1024


@pytest.mark.parametrize("name", ["max_request_mb", "max_images", "max_pending", "timeout_s", "max_megapixels"])
@pytest.mark.parametrize("value", [0, float("inf"), float("nan")])
def test_limits_must_leave_something_and_be_limits(name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite; it is {value}"):
        Limits(**{name: value})
