"""Serves the page without fetching or reporting anything over the network."""

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


def serve(app: Callable, listening: socket.socket, host: str, *, browser: bool = False) -> None:
    """Serves a page until it is interrupted, and prints its address.

    Args:
      app: the page as an ASGI application, from `guarded`.
      listening: a listening socket.
      host: host name of the page, as it was given to `sockets.bind`.
      browser: whether to open the page in the browser.
    """
    import uvicorn

    connections = Connections(_MOST_CONNECTIONS, _HEADER_TIMEOUT_S, _STALL_TIMEOUT_S)
    config = uvicorn.Config(
        app,
        http=connections,
        backlog=connections.backlog,
        ws="none",
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    address = f"{url(listening, host)}/"
    print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
    if browser:
        # The socket listens already: requests wait until the server accepts them.
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
    # A plain `kill` ends the server as Ctrl-C does, so that no temporary files are left.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        listening.close()


def guarded(page: Any, look: dict[str, Any], hosts: Hosts, uploads: pathlib.Path) -> Callable:
    """Returns a page as an ASGI application that answers only the requests of the page itself; see `Gate`.

    Args:
      page: Gradio Blocks.
      look: Gradio's arguments for the appearance: `theme`, `css` and so on.
      hosts: names of the server.
      uploads: folder of Gradio's uploaded files.
    """
    import fastapi
    import gradio as gr

    # Not `page.launch`, which sends itself requests, through a proxy if one is set; and no documentation pages of
    # FastAPI, which load resources from other sites.
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Gradio checks the paths of files only after a launch.
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
