"""Addresses that servers listen on."""

import socket

import pytest

from glow_tf.serving.sockets import bind, url


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.host.invalid"])
def test_an_address_that_is_not_here_is_said(host):
    with pytest.raises(OSError, match=f"--host={host} --port=0 cannot be served: "):
        bind(host, 0)


def test_an_address_may_be_a_name_or_of_ipv6():
    for host in ("localhost", "::1"):
        try:
            bound = bind(host, 0)
        except OSError as error:
            # Not every machine has IPv6.
            assert host == "::1", error
            continue
        name = {"::1": "[::1]"}.get(host, host)
        assert url(bound, host) == f"http://{name}:{bound.getsockname()[1]}"
        bound.close()


def test_a_port_that_is_free_again():
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"--host=127.0.0.1 --port={port} cannot be served: .* in use. Try --port=0."):
            bind("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            first.accept()[0].close()
    bind("127.0.0.1", port).close()
