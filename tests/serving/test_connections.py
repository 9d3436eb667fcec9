"""Idle, slow and excess connections to a server in a thread."""

import asyncio
import contextlib
import http.client
import json
import logging
import logging.handlers
import queue
import socket
import threading
import time

import pytest
import uvicorn

from glow_tf.serving.connections import Connections
from glow_tf.serving.sockets import bind

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = 1 << 25
# Less than asyncio buffers by default before it tells the protocol so.
SMALL = 50_000


class App:
    """Answers with `ok`; at /large and /small with a body of that size, and at /held only once `go` is set."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    async def __call__(self, scope, receive, send):
        if scope["path"] == "/held":
            self.entered.release()
            await asyncio.to_thread(self.go.wait, 60)
        body = {"/large": b"x" * LARGE, "/small": b"x" * SMALL}.get(scope["path"], b"ok")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serving(connections, send_buffer=None):
    app, bound = App(), bind("127.0.0.1", 0)
    if send_buffer:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    bound.listen(connections.backlog)
    config = uvicorn.Config(app, http=connections, backlog=connections.backlog, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield app, bound.getsockname()[1]
    finally:
        app.go.set()
        server.should_exit = server.force_exit = True
        thread.join()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def get(port, path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read(), dict(response.getheaders())


def is_closed(connection):
    """Waits until the other side closes; whatever it sends before that is discarded."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET / HT", ASK[:-2], ASK + ASK[:-2], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"],
    ids=["nothing", "half a line", "half a head", "a request and a half", "a body that does not come"],
)
def test_who_sends_no_more_is_let_go(begun, caplog):
    with caplog.at_level(logging.WARNING), serving(Connections(50, 0.2, 60)) as (_, port):
        connections = [connect(port) for _ in range(5)]
        for connection in connections:
            connection.sendall(begun)
        assert all(map(is_closed, connections))
        assert get(port)[:2] == (200, b"ok")
    assert [record.getMessage() for record in caplog.records] == ["a connection sent no request within 0.2 s"]


def test_single_bytes_do_not_buy_time():
    with serving(Connections(50, 0.5, 60)) as (_, port), connect(port) as connection:
        connection.settimeout(0.05)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while True:
                connection.sendall(b"G")
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1):
                        break
        assert time.monotonic() - began < 10


def test_a_request_under_way_has_its_time():
    with serving(Connections(50, 0.1, 60)) as (app, port), connect(port) as connection:
        connection.sendall(ASK.replace(b"/ ", b"/held ", 1))
        app.entered.acquire()
        # Idle connections are closed meanwhile.
        with connect(port) as silent:
            assert is_closed(silent)
        app.go.set()
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_silent_ones_make_room_for_others(caplog):
    with caplog.at_level(logging.WARNING), serving(Connections(4, 60, 60)) as (_, port):
        silent = [connect(port) for _ in range(4)]
        for _ in range(8):
            assert get(port)[0] == 200
        assert is_closed(silent[0])
    assert len(caplog.records) == 1


def test_unread_replies_make_room_for_others():
    # The system takes less than the reply, which is complete for the server.
    with serving(Connections(2, 60, 60), send_buffer=4096) as (_, port), contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect(("127.0.0.1", port))
            connection.sendall(ASK.replace(b"/ ", b"/small ", 1))
            assert connection.recv(1)
        for _ in range(3):
            assert get(port)[0] == 200


def test_where_all_are_at_work_one_more_is_told_so():
    with serving(Connections(2, 60, 60)) as (app, port):
        held = [connect(port) for _ in range(2)]
        for connection in held:
            connection.sendall(ASK.replace(b"/ ", b"/held ", 1))
            app.entered.acquire()
        with connect(port) as one_more:
            reply = one_more.recv(65536)
        assert reply.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in reply.lower()
        assert "error" in json.loads(reply.partition(b"\r\n\r\n")[2])
        app.go.set()
        assert all(connection.recv(65536).startswith(b"HTTP/1.1 200") for connection in held)


def test_an_idle_connection_is_kept_for_the_next_request_and_let_go_in_silence(caplog):
    with caplog.at_level(logging.WARNING), serving(Connections(50, 2, 60)) as (_, port), connect(port) as connection:
        for _ in range(2):
            connection.sendall(ASK)
            reply = b""
            while not reply.endswith(b"\r\n\r\nok"):
                reply += connection.recv(65536)
        assert is_closed(connection)
    assert not caplog.records


@pytest.mark.slow
def test_an_idle_connection_is_kept_as_long_as_is_asked():
    """Uvicorn would keep it for five seconds, and proxies would find it closed."""
    with serving(Connections(50, 30, 60)) as (_, port), connect(port) as connection:
        connection.sendall(ASK)
        while not connection.recv(65536).endswith(b"ok"):
            pass
        connection.settimeout(7)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize("path", [b"/large", b"/small"])
@pytest.mark.parametrize("head", [ASK, ASK[:-2] + b"Connection: close\r\n\r\n", ASK.replace(b"/1.1", b"/1.0")])
def test_who_does_not_take_the_reply_is_let_go(head, path):
    logged = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(logged)
    logging.getLogger("glow_tf.serving").addHandler(handler)
    try:
        # The system takes less than either reply.
        with serving(Connections(1, 60, 0.3), send_buffer=4096) as (_, port), socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect(("127.0.0.1", port))
            connection.sendall(head.replace(b"/ ", path + b" ", 1))
            assert logged.get(timeout=20).getMessage() == "a connection took nothing of its reply for 0.3 s"
            size = 0
            with contextlib.suppress(ConnectionResetError):
                while got := connection.recv(1 << 18):
                    size += len(got)
            assert size < {b"/large": LARGE, b"/small": SMALL}[path]
            assert get(port)[0] == 200
    finally:
        logging.getLogger("glow_tf.serving").removeHandler(handler)


def test_who_takes_it_slowly_gets_it_all():
    # The reply counts as sent at once, and the client sends no other request meanwhile.
    with serving(Connections(50, 0.2, 0.5)) as (_, port), connect(port) as connection:
        connection.sendall(ASK.replace(b"/ ", b"/large ", 1))
        began, size = time.monotonic(), 0
        while size < LARGE:
            size += len(connection.recv(1 << 18))
            # The whole reply takes longer than the stall timeout.
            while time.monotonic() - began < min(1.5, 1.5 * size / LARGE):
                threading.Event().wait(0.02)


def test_what_is_no_http_is_told_as_json(caplog):
    with caplog.at_level(logging.WARNING), serving(Connections(50, 60, 60)) as (_, port), connect(port) as connection:
        connection.sendall(b"\x16\x03\x01 no http\r\n\r\n")
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400") and b"application/json" in head
    assert set(json.loads(body)) == {"error"}


def test_there_are_fewer_where_few_files_may_be_open(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (512, 512))
    connections = Connections(10_000, 10, 60)
    assert 100 < connections.most < 512 - connections.backlog
