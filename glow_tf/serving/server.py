"""Serves an application until it receives a signal."""

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
    """Serves until SIGTERM or Ctrl-C, then finishes running requests. A second Ctrl-C does not wait for them.

    Args:
      app: an ASGI application.
      bound: socket from `sockets.bind`; closed at the end.
      ready: called once connections are accepted.
      timeout_s: time for running requests to finish, in seconds.
      connections: limits on connections; by default 1024, and 10 s for a request's headers.

    Raises:
      OSError: if another process has started to listen on the address.
    """
    # Logging messages about single requests would let anybody fill the disk.
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
    # Ignores the signals that uvicorn, after shutting down, raises again for the previous handlers.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        bound.listen(config.backlog)
        ready()
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        bound.close()
