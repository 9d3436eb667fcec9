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
    lifespan: str = "off",
) -> None:
    """Serves until SIGTERM or Ctrl-C, then finishes running requests. A second Ctrl-C does not wait for them.

    Args:
      app: an ASGI application.
      bound: socket from `sockets.bind`, which may listen already; closed at the end.
      ready: called once connections are accepted.
      timeout_s: time for running requests to finish, in seconds.
      connections: limits on connections; by default 1024, and 10 s for a request's headers.
      lifespan: whether the application is told of its start and end, as for uvicorn: "on", "off" or "auto".

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
        lifespan=lifespan,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(timeout_s),
    )
    server = uvicorn.Server(config)

    def end(*_) -> None:
        server.should_exit = True

    # For signals before uvicorn handles them, and to ignore those that it raises again after shutting down.
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        bound.listen(config.backlog)
        ready()
        server.run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        bound.close()
