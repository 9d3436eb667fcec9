"""Serves a page from this machine alone: nothing is fetched from elsewhere, and nothing is reported."""

import pathlib
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

from glow_tf.demo.gate import Gate
from glow_tf.serving.connections import Connections
from glow_tf.serving.hosts import CheckHosts, Hosts
from glow_tf.serving.sockets import url

_MOST_CONNECTIONS = 512
_HEADER_TIMEOUT_S = 10.0
_STALL_TIMEOUT_S = 60.0


def serve(
    page: Any,
    look: dict[str, Any],
    listening: socket.socket,
    hosts: Hosts,
    uploads: pathlib.Path,
    *,
    browser: bool = False,
) -> None:
    """Serves a page until it is interrupted, and prints where it is.

    Args:
      page: Gradio Blocks.
      look: what Gradio takes with it: `theme`, `css` and so on.
      listening: a socket that listens.
      hosts: the names that the page may be asked by.
      uploads: the folder in which Gradio keeps what people upload.
      browser: whether to open it in the browser.
    """
    import uvicorn

    connections = Connections(_MOST_CONNECTIONS, _HEADER_TIMEOUT_S, _STALL_TIMEOUT_S)
    config = uvicorn.Config(
        guarded(page, look, hosts, uploads),
        http=connections,
        backlog=connections.backlog,
        ws="none",
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    address = f"{url(listening)}/"
    print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
    if browser:
        # It listens already: what the browser asks for waits until the server takes it.
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
    # So that a plain `kill` ends it as Ctrl-C does, and leaves no temporary files.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        listening.close()


def guarded(page: Any, look: dict[str, Any], hosts: Hosts, uploads: pathlib.Path) -> Callable:
    """A page as an ASGI application that answers what the page itself asks, and nothing else; see `Gate`.

    Args:
      page, look, hosts, uploads: as for `serve`.
    """
    import fastapi
    import gradio as gr

    # Not `page.launch`: it asks itself through whatever proxy is set, and FastAPI's own pages come from elsewhere.
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Gradio checks the paths of files once a page has been launched.
    page.has_launched = True
    gr.mount_gradio_app(
        app,
        page,
        "/",
        ssr_mode=False,
        footer_links=[],
        max_file_size="64mb",
        show_error=False,
        run_history=False,
        **look,
    )
    file_inputs = {
        number: [position for position, block in enumerate(function.inputs) if isinstance(block, gr.File)]
        for number, function in page.fns.items()
    }
    return CheckHosts(Gate(app, uploads, file_inputs), hosts)
