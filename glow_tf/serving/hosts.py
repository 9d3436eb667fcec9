"""The names under which a server may be asked, against pages of other sites that speak through somebody's browser.

A page can have the browser send requests to any address, also to one that only this machine can reach. If its own name
resolves to that address (DNS rebinding), the browser takes the replies for the page's own; but the request then says
that name, in `Host`. Without that trick the request says where the page is from, in `Origin` (RFC 6454).
"""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """The names of a server.

    Where it listens at this machine's own address (loopback), those are `localhost`, `127.0.0.1` and `::1`; else the
    address and the name of the machine; where it listens at all addresses, every address: a browser that goes to a
    number, not to a name, is not led elsewhere by DNS.

    Args:
      host: the address that is listened at, a name or a number; `0.0.0.0` and `::` are all addresses.
      others: more names, such as that of a proxy.
    """

    def __init__(self, host: str, others: Iterable[str] = ()):
        self._others = {_plain(name) for name in others}
        address = _address(host)
        self._any_address = address is not None and address.is_unspecified
        self._names = {_plain(host), *self._others}
        if self._any_address or host == "localhost" or (address is not None and address.is_loopback):
            self._names.update(_LOOPBACK)
        if self._any_address or not self._names.issuperset(_LOOPBACK):
            self._names.add(socket.gethostname().lower())

    def allow(self, host: str) -> bool:
        """Returns whether `host`, as in a request's `Host`, is one of the names; the port does not matter."""
        name = _name_of(host)
        return name in self._names or (self._any_address and _address(name) is not None)

    def allow_origin(self, origin: str, host: str) -> bool:
        """Returns whether a page of `origin` may ask: it is of `host` itself, or has one of the names given."""
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and (
            parts.netloc.lower() == host.lower() or _name_of(parts.netloc) in self._others
        )


class CheckHosts:
    """ASGI middleware that answers requests under other names, and of pages from elsewhere, with 403.

    Args:
      app: what the others go to.
      hosts: the names of the server.
      origins: of pages that may ask as well, such as `https://example.org`; `*` for all.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, origins: Iterable[str] = ()):
        self._app = app
        self._hosts = hosts
        self._origins = set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            why = self._refusal(dict(scope["headers"]))
            if why:
                # Without a word of CORS in it, no page can read this.
                await JSONResponse({"error": why}, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes]) -> str | None:
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        if not self._hosts.allow(host):
            return f"This server does not go by the name {host[:100]!r}; its flag --allowed_hosts gives it more names."
        if origin and not (self._origins & {"*", origin} or self._hosts.allow_origin(origin, host)):
            return f"Pages from {origin[:100]!r} may not ask this server."
        return None


def _name_of(netloc: str) -> str:
    """The host of `host:port`, in lower case; empty if it is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port
    except ValueError:
        return ""
    if "@" in netloc or parts.netloc != netloc:
        return ""
    return _plain(parts.hostname or "")


def _plain(name: str) -> str:
    return name.strip("[]").rstrip(".").lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None
