"""Listens at an address until it is told to stop."""

import logging
import math
import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette


def bind(host: str, port: int) -> socket.socket:
    """A socket for an address, on which nobody listens yet.

    Args:
      host: a name or a number, of IPv4 or IPv6.
      port: 0 for one that is free.

    Raises:
      OSError: if there is no such address here, or it is in use; the message names it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # A server that has just stopped leaves its port in a state that would be taken for use.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise OSError(f"The server cannot have {host}, port {port}: {error.strerror or error}.") from error
    return bound


def serve(app: Starlette, bound: socket.socket, ready: Callable[[], None], timeout_s: float) -> None:
    """Serves until SIGTERM or Ctrl-C; requests under way are then finished. A second Ctrl-C does not wait for them.

    Args:
      app: what is served.
      bound: a socket, which is closed at the end.
      ready: called once connections are accepted.
      timeout_s: seconds for requests under way to finish.

    Raises:
      OSError: if another process listens there by now.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
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
