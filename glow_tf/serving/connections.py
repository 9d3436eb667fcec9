"""Limits on the number of connections and on idle clients."""

import json
import logging
import math
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LOG = logging.getLogger("glow_tf.serving")
# Seconds for which further events of the same kind are collected in one log line.
_LOG_EVERY = 60.0
# Open files to reserve for purposes other than connections.
_OTHER_FILES = 64


class Connections:
    """Limits the connections of a server; passed to uvicorn as `http`, as it creates the protocol of each connection.

    Args:
      most: largest number of connections, reduced if the process may not open as many files. A further one replaces the
        connection that has been without a request the longest, or else one whose client does not read the end of its
        reply; if all have requests, it is refused with 503.
      header_timeout_s: longest time from the start of a connection, or from its last reply, to the end of a request's
        headers, in seconds.
      stall_timeout_s: time without progress in sending a reply after which a client is disconnected, in seconds.
      backlog: number of connections that the system queues until the server accepts them.

    Raises:
      ValueError: if a timeout is not positive and finite.
    """

    def __init__(self, most: int, header_timeout_s: float, stall_timeout_s: float, backlog: int = 128):
        for name, value in (("header_timeout_s", header_timeout_s), ("stall_timeout_s", stall_timeout_s)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite; it is {value}.")
        files = _files()
        self.most = most if files is None else max(1, min(most, files - backlog - _OTHER_FILES))
        self.header_timeout_s = header_timeout_s
        self.stall_timeout_s = stall_timeout_s
        self.backlog = backlog
        self._counts: dict[str, int] = {}

    def __call__(self, **arguments: Any) -> "_Protocol":
        return _Protocol(self, **arguments)

    def log(self, what: str, protocol: "_Protocol") -> None:
        """Counts an event, and logs it at intervals."""
        count = self._counts.get(what, 0)
        self._counts[what] = count + 1
        if not count:
            # The first event is logged at once, those of the next minute together in one line.
            _LOG.warning("a connection %s", what)
            protocol.loop.call_later(_LOG_EVERY, self._log_rest, what)

    def _log_rest(self, what: str) -> None:
        more = self._counts.pop(what) - 1
        if more:
            _LOG.warning("%d more connections %s", more, what)


class _Protocol(H11Protocol):
    """HTTP/1.1 with a deadline for each part that depends on the client."""

    def __init__(self, limits: Connections, **arguments: Any):
        super().__init__(**arguments)
        self._limits = limits
        self._head_timer = self._stall_timer = None
        self.waiting_since: float | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        # `pause_writing` is called whenever something is unsent, and `resume_writing` once nothing is: a reply is
        # complete for uvicorn, and the connection may even be closing, long before its client has taken it.
        transport.set_write_buffer_limits(high=0)
        self._wait_for_head()
        if len(self.connections) > self._limits.most:
            self._make_room()

    def connection_lost(self, exc) -> None:
        self._stop_waiting()
        self._resumed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._at_work():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.flow.write_paused:
            self._wait_for_next()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        self._resumed()
        super().resume_writing()
        self._wait_for_next()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "This is not a valid HTTP request.")

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_next(self) -> None:
        # The next request may already have started, or its headers be awaited.
        if not self._at_work() and not self.transport.is_closing() and self.waiting_since is None:
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self.waiting_since = self.loop.time()
        self._head_timer = self.loop.call_later(self._limits.header_timeout_s, self._silent)

    def _stop_waiting(self) -> None:
        self.waiting_since = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Does nothing: uvicorn's five seconds would end connections that a proxy still takes for open."""

    def _silent(self) -> None:
        if self.cycle is not None and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            # That nothing follows a reply is usual.
            self.transport.close()
            return
        self._limits.log(f"sent no request within {self._limits.header_timeout_s:g} s", self)
        self.transport.abort()

    def _make_room(self) -> None:
        others = [one for one in self.connections if one is not self and not one._at_work()]
        silent = [one for one in others if one.waiting_since is not None]
        unread = [one for one in others if one._stall_timer is not None]
        if silent or unread:
            self._limits.log(f"without a request gave way to another, as there were {self._limits.most}", self)
            if silent:
                longest = min(silent, key=lambda one: one.waiting_since)
            else:
                longest = min(unread, key=lambda one: one._stall_timer.when())
            # Removed here, as closing takes a moment.
            self.connections.discard(longest)
            longest.transport.abort()
        else:
            self._limits.log(f"was turned away, as {self._limits.most} were at work", self)
            self._refuse(503, "The server has too many connections already; try again.", [(b"retry-after", b"1")])

    def _watch_writing(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self._limits.stall_timeout_s, self._stalled, left)

    def _resumed(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _stalled(self, left: int) -> None:
        if self.transport.get_write_buffer_size() < left:
            self._watch_writing()
            return
        self._limits.log(f"took nothing of its reply for {self._limits.stall_timeout_s:g} s", self)
        self.transport.abort()

    def _refuse(self, status: int, message: str, headers=()) -> None:
        """Replies with an error outside a request, and closes the connection."""
        self._stop_waiting()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = json.dumps({"error": message}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *headers,
        ]
        events = [h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()]
        self.transport.write(b"".join(self.conn.send(event) for event in events))
        self.transport.close()


def _files() -> int | None:
    """Returns the number of files that the process may open, or None without a limit."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
