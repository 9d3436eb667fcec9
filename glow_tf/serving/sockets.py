"""Sockets for servers."""

import errno
import os
import socket


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to an address but does not listen yet.

    Args:
      host: a name or an IPv4 or IPv6 address.
      port: port number; 0 picks a free one.

    Raises:
      OSError: if the address does not exist or is in use; the message names it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                # Otherwise the port of a server that has just stopped would count as in use.
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        way_out = " Try --port=0." if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise OSError(f"--host={host} --port={port} cannot be served: {error.strerror or error}.{way_out}") from error
    return bound


def url(bound: socket.socket, host: str) -> str:
    """Returns the URL of a socket, such as `http://127.0.0.1:8501`.

    Args:
      bound: socket from `bind`.
      host: host name, as it was given to `bind`.
    """
    port = bound.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
