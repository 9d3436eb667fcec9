"""Serves the page without fetching or reporting anything over the network."""

import pathlib
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

import fastapi
import gradio as gr

from glow_tf.demo import calls
from glow_tf.demo.gate import Gate
from glow_tf.demo.uploads import Uploads
from glow_tf.serving import server
from glow_tf.serving.connections import Connections
from glow_tf.serving.hosts import CheckHosts, Hosts
from glow_tf.serving.sockets import url

_MOST_CONNECTIONS = 512
# More than the idle timeout of most proxies, 60 s; silent connections give way to others.
_HEADER_TIMEOUT_S = 75.0
_STALL_TIMEOUT_S = 60.0
# Running functions may finish within it after Ctrl-C.
_SHUTDOWN_TIMEOUT_S = 1.0
# Visitors whose choices are remembered. Gradio would remember 10,000, and anybody can invent them.
_MOST_SESSIONS = 100


def serve(app: Callable, listening: socket.socket, host: str, *, browser: bool = False) -> None:
    """Serves a page until it is interrupted, and prints its address.

    Args:
      app: the page as an ASGI application, from `guarded`.
      listening: a listening socket.
      host: host name of the page, as it was given to `sockets.bind`.
      browser: whether to open the page in the browser.
    """
    address = f"{url(listening, host)}/"

    def ready() -> None:
        print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
        if browser:
            # The socket listens already: requests wait until the server accepts them.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    connections = Connections(_MOST_CONNECTIONS, _HEADER_TIMEOUT_S, _STALL_TIMEOUT_S)
    server.serve(app, listening, ready, _SHUTDOWN_TIMEOUT_S, connections, lifespan="auto")


def guarded(page: Any, look: dict[str, Any], hosts: Hosts, uploads: pathlib.Path) -> Callable:
    """Returns a page as an ASGI application that answers only the requests of the page itself; see `Gate`.

    Args:
      page: Gradio Blocks.
      look: Gradio's arguments for the appearance: `theme`, `css` and so on.
      hosts: names of the server.
      uploads: folder of the uploaded files.
    """
    # Not `page.launch`, which sends itself requests, through a proxy if one is set; and no documentation pages of
    # FastAPI, which load resources from other sites.
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Gradio checks the paths of files only after a launch.
    page.has_launched = True
    page.state_session_capacity = _MOST_SESSIONS
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

    def deleted(path: str) -> None:
        # Gradio notes every file that a function has read.
        for files in page.temp_file_sets:
            files.discard(path)

    return CheckHosts(Gate(app, calls.functions(page), Uploads(uploads, deleted)), hosts)
