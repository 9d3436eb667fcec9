"""Access checks: the host names of a server, and the origins of web pages."""

import asyncio
import re
import socket

import httpx
import pytest

from glow_tf.serving.app import create_app
from glow_tf.serving.batching import Runner
from glow_tf.serving.hosts import CheckHosts, Hosts, checked_origin

LOOPBACK = ["127.0.0.1", "127.0.0.1:8501", "localhost:9", "LOCALHOST", "localhost.", "[::1]:8501"]
# Other hosts, names that only resemble those of this machine, and malformed names.
FOREIGN = [
    *("evil.example", "evil.example:8501", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"),
    *("", ":8501", "localhost@evil.example", "evil.example@localhost", "localhost:x", "localhost/", "[::1", "a b"),
]


@pytest.mark.parametrize("served", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_alone(served):
    hosts = Hosts(served)
    assert all(map(hosts.allow, LOOPBACK))
    assert not any(map(hosts.allow, FOREIGN))


@pytest.mark.parametrize("served", ["0.0.0.0", "::"])
def test_all_addresses(served):
    hosts = Hosts(served)
    assert all(map(hosts.allow, [*LOOPBACK, "10.0.0.1:80", "[2001:db8::1]", f"{socket.gethostname()}:8501"]))
    assert not any(hosts.allow(name) for name in FOREIGN if name != "10.0.0.1")


def test_one_address_and_more_names():
    hosts = Hosts("10.0.0.1", ["glow.example.org"])
    assert all(map(hosts.allow, ["10.0.0.1:8501", socket.gethostname(), "Glow.Example.org"]))
    assert not any(map(hosts.allow, ["10.0.0.2", "localhost", "example.org", "evil.glow.example.org"]))


def test_a_name_and_the_number_that_it_stands_for():
    hosts = Hosts("glow.example.org", address="10.0.0.1")
    assert all(map(hosts.allow, ["glow.example.org:80", "10.0.0.1:8501"]))
    assert not any(map(hosts.allow, ["10.0.0.2", "localhost", *LOOPBACK, "evil.example"]))
    # Pages from elsewhere on this machine are pages from elsewhere.
    assert not hosts.allow_origin("http://10.0.0.1:3000", "10.0.0.1:8501")
    assert Hosts("0", address="0.0.0.0").allow("10.0.0.2") and not Hosts("0", address="0.0.0.0").allow("evil.example")


@pytest.mark.parametrize("given", ["proxy", "proxy:8080", "Proxy.", "proxy:443"])
def test_further_names_have_any_port(given):
    hosts = Hosts("127.0.0.1", [given, "[2001:db8::1]:80", "2001:db8::2"])
    assert all(map(hosts.allow, ["proxy", "proxy:8080", "proxy:9", "[2001:db8::1]", "[2001:db8::2]:80"]))
    assert hosts.allow_origin("https://proxy:3000", "proxy:8080")
    assert not any(map(hosts.allow, FOREIGN))


@pytest.mark.parametrize("given", ["", "https://proxy", "proxy:x", "proxy/glow", "me@proxy", "*", "*.proxy", "a b"])
def test_what_is_no_name_is_said(given):
    with pytest.raises(ValueError, match=f"further name '{re.escape(given)}' must be a host name"):
        Hosts("127.0.0.1", [given])


def ask(app, method="GET", **headers):
    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8501") as client:
            return await client.request(method, "/v1/models/glow", headers=headers)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def create(model):
    runner = Runner(model, max_batch_size=1)
    return lambda **options: create_app(model, runner, **options)


def test_foreign_names_are_refused(create):
    app = create()
    assert ask(app).status_code == 200
    for host in FOREIGN:
        reply = ask(app, host=host)
        assert reply.status_code == 403 and set(reply.json()) == {"error"}, host
    assert "'evil.example'" in ask(app, host="evil.example:8080").json()["error"]
    assert ask(create(hosts=Hosts("127.0.0.1", ["evil.example"])), host="evil.example:1").status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:3000", "http://localhost:8501", "null", "http://["]
)
def test_pages_from_elsewhere_are_refused(create, origin):
    reply = ask(create(), origin=origin)
    assert reply.status_code == 403
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_origins_are_taken_in_the_form_of_browsers():
    for given, sent in {
        "https://example.org": "https://example.org",
        "HTTPS://Example.org:443": "https://example.org",
        "http://example.org:80": "http://example.org",
        "http://[::1]:3000": "http://[::1]:3000",
        "*": "*",
        "null": "null",
    }.items():
        assert checked_origin(given) == sent


@pytest.mark.parametrize(
    "given",
    [
        *("", "example.org", "https://example.org/", "https://*.example.org", "nullx", "https://b\u00fccher.example"),
        *("http://", "http://[", "http://a:x", "http://a:", "http://\N{KELVIN SIGN}.example"),
    ],
)
def test_what_is_no_origin_is_said(given):
    with pytest.raises(ValueError, match=f"origin '{re.escape(given)}' must be"):
        checked_origin(given)


def test_a_page_of_the_server_itself_may_ask(create):
    assert ask(create(), origin="http://127.0.0.1:8501").status_code == 200


def test_pages_that_are_named_may_ask(create):
    app = create(cors_origins=["https://page.example"])
    reply = ask(app, origin="https://page.example")
    assert reply.status_code == 200 and reply.headers["access-control-allow-origin"] == "https://page.example"
    asked_before = {
        "origin": "https://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    reply = ask(app, "OPTIONS", **asked_before)
    assert reply.status_code == 200 and "POST" in reply.headers["access-control-allow-methods"]
    for origin in ("https://page.example:444", "http://page.example", "https://evil.example"):
        assert ask(app, origin=origin).status_code == 403
    reply = ask(create(cors_origins=["null"]), origin="null")
    assert reply.status_code == 200 and reply.headers["access-control-allow-origin"] == "null"
    assert ask(create(cors_origins=["*"]), origin="https://evil.example").headers["access-control-allow-origin"] == "*"


def test_websockets_are_checked_too():
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["type"])

    async def send(message):
        pass

    for host in (b"evil.example", b"localhost"):
        scope = {"type": "websocket", "headers": [(b"host", host)], "path": "/", "extensions": {}}
        asyncio.run(CheckHosts(app, Hosts("localhost"))(scope, None, send))
    assert reached == ["websocket"]


def test_health_checks_need_not_name_the_host():
    """In HTTP/1.0 `Host` may be missing, which it never is in a browser's request."""
    reached, replies = [], []

    async def app(scope, receive, send):
        reached.append(scope["headers"])

    async def send(message):
        replies.append(message.get("status"))

    for headers in ([], [(b"origin", b"https://evil.example")], [(b"host", b"")]):
        scope = {"type": "http", "method": "GET", "headers": headers, "path": "/"}
        asyncio.run(CheckHosts(app, Hosts("localhost"))(scope, None, send))
    assert reached == [[]]
    assert replies[::2] == [403, 403]
