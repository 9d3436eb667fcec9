"""Listens at an address until it is told to stop."""

import logging
import math
import signal
import socket
from collections.abc import Callable

import uvicorn

from glow_tf.serving.connections import Connections


def serve(
    app: Callable,
    bound: socket.socket,
    ready: Callable[[], None],
    timeout_s: float,
    connections: Connections | None = None,
) -> None:
    """Serves until SIGTERM or Ctrl-C; requests under way are then finished. A second Ctrl-C does not wait for them.

    Args:
      app: what is served, an ASGI application.
      bound: from `sockets.bind`; it is closed at the end.
      ready: called once connections are accepted.
      timeout_s: seconds for requests under way to finish.
      connections: how many there may be, and what of them is waited for; by default 1024, and 10 s for a request.

    Raises:
      OSError: if another process listens there by now.
    """
    # What it tells of single requests, anybody could fill a disk with.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    connections = connections or Connections(1024, 10.0, timeout_s)
    config = uvicorn.Config(
        app,
        http=connections,
        backlog=connections.backlog,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(timeout_s),
    )
    # uvicorn stops in good order and then raises the signal again, for those who were there before it.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        bound.listen(config.backlog)
        ready()
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        bound.close()
