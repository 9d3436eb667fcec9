"""Protects a server against requests from other sites' pages by checking `Host` and `Origin`.

A page can make the browser send requests to any address, even one that only this machine can reach. If the page's own
host name resolves to that address (DNS rebinding), the browser treats the replies as same-origin; but the request then
has that name in `Host`. Without DNS rebinding, the request states the page's origin in `Origin` (RFC 6454).
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """Host names that a server answers to.

    These are `localhost`, `127.0.0.1` and `::1` if it listens on a loopback address, else the address and the name of
    the machine. If it listens on all addresses, these are all allowed, and so is every IP address, as those do not
    involve DNS.

    Args:
      host: where to listen, a host name or an IP address; `0.0.0.0` and `::` stand for all addresses.
      others: further names, such as that of a proxy; their ports do not matter.
      address: the IP address that `host` stands for, if it is a name.

    Raises:
      ValueError: if one of `others` is not a host name.
    """

    def __init__(self, host: str, others: Iterable[str] = (), address: str | None = None):
        self._others = {_checked(name) for name in others}
        address = address or host
        parsed = _address(address)
        self._any_address = parsed is not None and parsed.is_unspecified
        self._names = {_plain(host), _plain(address), *self._others}
        if self._any_address or host == "localhost" or (parsed is not None and parsed.is_loopback):
            self._names.update(_LOOPBACK)
        if self._any_address or not self._names.issuperset(_LOOPBACK):
            self._names.add(socket.gethostname().lower())

    def allow(self, host: str) -> bool:
        """Returns whether `host`, from a request's `Host` header, is one of the names, with any port."""
        name = _name_of(host)
        return name in self._names or (self._any_address and _address(name) is not None)

    def allow_origin(self, origin: str, host: str) -> bool:
        """Returns whether a page from `origin`, on `host` itself or one of `others`, may send requests."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and (
            parts.netloc.lower() == host.lower() or _name_of(parts.netloc) in self._others
        )


def checked_origin(origin: str) -> str:
    """Returns an origin in the form in which browsers send it, or `*`.

    Browsers send `null` for pages without an origin, such as local files.

    Raises:
      ValueError: if it is none.
    """
    plain = origin.lower()
    if plain in ("*", "null"):
        return plain
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^/?#@\s*]*[^/?#@\s*:])", plain)
    if not (origin.isascii() and found and _name_of(found[2])):
        raise ValueError(f"The origin {origin!r} must be *, null or like https://example.org or http://localhost:3000.")
    # Browsers leave the default port out.
    return plain.removesuffix({"http": ":80", "https": ":443"}.get(found[1], ""))


class CheckHosts:
    """ASGI middleware that refuses requests for other hosts, and from pages of other origins, with 403.

    Args:
      app: the application.
      hosts: names of the server.
      origins: further origins of pages that may send requests, such as `https://example.org`; `*` for all.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, origins: Iterable[str] = ()):
        self._app = app
        self._hosts = hosts
        self._origins = set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            why = self._refusal(dict(scope["headers"]))
            if why:
                # Without CORS headers, pages cannot read this.
                await JSONResponse({"error": why}, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes]) -> str | None:
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        # Browsers always send `Host`; the health checks of proxies may not, in HTTP/1.0.
        if b"host" in headers and not self._hosts.allow(host):
            name = (_name_of(host) or host)[:100]
            return f"The host name {name!r} is not allowed; --allowed_hosts adds it."
        if origin and not (self._origins & {"*", origin} or self._hosts.allow_origin(origin, host)):
            return f"Requests from the origin {origin[:100]!r} are not allowed."
        return None


def _name_of(netloc: str) -> str:
    """Returns the host of `host:port` in lower case; empty if it is invalid."""
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port
    except ValueError:
        return ""
    if "@" in netloc or parts.netloc != netloc:
        return ""
    return _plain(parts.hostname or "")


def _checked(name: str) -> str:
    """Returns the host of `host` or `host:port`. Raises ValueError if it is none."""
    plain = _plain(name) if _address(name) else _name_of(name)
    # Of `*`, which other servers take for all names, this one would make the name of a host that nobody has.
    if not (_address(plain) or re.fullmatch(r"[\w.-]+", plain, re.ASCII)):
        raise ValueError(f"The server's further name {name!r} must be a host name, such as glow.example.org.")
    return plain


def _plain(name: str) -> str:
    return name.strip("[]").rstrip(".").lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None
