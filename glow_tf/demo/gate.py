"""Allowlist of Gradio's routes, and a check of the files that requests name.

Gradio has many more routes than a page uses, some of which read files, fetch URLs or start programs; and wherever it
takes values, it accepts the path of any file as that of an uploaded one.
"""

import json
import os
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/pwa_icon(/\d+)?|/robots\.txt|/(assets|static|svelte)/.*"
    r"|/gradio_api/(app_id|info|startup-events|theme\.css|upload_progress|queue/data|heartbeat/\w+)/?"
)
# Routes that run a function, at once or queued.
_RUN = re.compile(r"/gradio_api/(run/predict|queue/join)/?")
_WRITTEN = re.compile(rf"{_RUN.pattern}|/gradio_api/(upload|reset|cancel)/?")
_UPLOAD = "/gradio_api/upload"
# Enough for the values of controls and the name of an upload.
_MOST_BYTES = 1 << 16
# One file and its multipart headers.
_MOST_UPLOADED_AT_ONCE = (64 << 20) + (1 << 16)


class Gate:
    """ASGI middleware that passes on only the requests of the page itself.

    Args:
      app: Gradio's application.
      uploads: folder of uploaded files.
      file_inputs: positions of the file inputs of each function, keyed by the function's number.
      most_uploaded: largest size of the folder, in bytes.
    """

    def __init__(
        self,
        app: ASGIApp,
        uploads: pathlib.Path,
        file_inputs: Mapping[int, Collection[int]],
        most_uploaded: int = 1 << 30,
    ):
        self._app = app
        self._uploads = uploads
        self._file_inputs = file_inputs
        self._most_uploaded = most_uploaded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        # Unquoted, as Gradio's router sees it.
        path, method = scope["path"], scope["method"]
        if not (_WRITTEN if method == "POST" else _READ).fullmatch(path) or method not in ("GET", "HEAD", "POST"):
            await JSONResponse({"error": "Nothing is here."}, 404)(scope, receive, send)
        elif _RUN.fullmatch(path):
            await self._run(scope, receive, send)
        elif path.rstrip("/") == _UPLOAD:
            await self._upload(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = sum(file.stat().st_size for file in self._uploads.rglob("*") if file.is_file())
        left = min(_MOST_UPLOADED_AT_ONCE, self._most_uploaded - held)
        stated = Headers(scope=scope).get("content-length", "0")
        if left <= 0 or not stated.isdecimal() or int(stated) > left:
            reply = JSONResponse({"error": "This is too much, or too much was uploaded before."}, 413)
            await reply(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        await self._app(scope, counted, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > _MOST_BYTES:
                await JSONResponse({"error": "This is more than the page sends."}, 413)(scope, receive, send)
                return
        if not self._is_honest(bytes(body)):
            await JSONResponse({"error": "The page takes files that were uploaded to it."}, 403)(scope, receive, send)
            return

        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, again, send)

    def _is_honest(self, body: bytes) -> bool:
        """Returns whether every file in a request was uploaded, and is the value of a file input."""
        try:
            return self._names_no_other_files(json.loads(body))
        except (ValueError, RecursionError):
            return False

    def _names_no_other_files(self, document: Any) -> bool:
        if not isinstance(document, dict) or not isinstance(document.get("data"), list):
            return False
        takes_files = self._file_inputs.get(document.get("fn_index"), ())
        for position, value in enumerate(document.pop("data")):
            files = list(_files(value))
            if files and (position not in takes_files or not all(map(self._is_uploaded, files))):
                return False
        return not any(_files(document))

    def _is_uploaded(self, path: Any) -> bool:
        if not isinstance(path, str) or "\0" in path:
            return False
        real = pathlib.Path(os.path.realpath(path))
        return real.is_file() and real.is_relative_to(os.path.realpath(self._uploads))


def _files(value: Any) -> Iterator[Any]:
    """Yields the paths of all files in a JSON value, at any depth."""
    if isinstance(value, dict):
        if "path" in value or "url" in value or "meta" in value:
            yield value.get("path")
        for inner in value.values():
            yield from _files(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _files(inner)
