"""Allowlist of Gradio's routes, with limits on what they are sent.

Gradio has many more routes than a page uses, some of which read files, fetch URLs or start programs.
"""

import asyncio
import re
import time
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow_tf.demo import calls
from glow_tf.demo.uploads import Uploads
from glow_tf.serving.bodies import timed
from glow_tf.serving.errors import HEADERS, RequestError

_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/pwa_icon(/\d+)?|/robots\.txt|/(assets|static|svelte)/.*"
    r"|/gradio_api/(app_id|info|startup-events|theme\.css)/?"
)
# Event streams that Gradio would keep open for everybody who asks; the progress of an upload it would never forget. The
# page does without: it reads the end of an upload from its reply, and ignores what the heartbeat says.
_STREAM = re.compile(r"/gradio_api/(upload_progress|heartbeat/\w+)/?")
_ENDED = 'data: {"msg": "done"}\n\n'
# The page's functions are not queued, which its client calls here.
_RUN = "/gradio_api/run/predict"
_UPLOAD = "/gradio_api/upload"
# Enough for the values of controls, and the name of an upload several times.
_MOST_BYTES = 1 << 14
# TensorFlow divides the work of each among all cores, and each takes memory.
_MOST_RUNS_AT_ONCE = 2
# One file and its multipart headers.
_MOST_UPLOADED_BYTES = (64 << 20) + (1 << 16)
_MOST_UPLOADS_AT_ONCE = 4


class Gate:
    """ASGI middleware that passes on only the requests of the page itself.

    Args:
      app: Gradio's application.
      functions: the page's functions by their numbers.
      uploads: the uploaded files.
      run_timeout_s: longest time in which the values of a function arrive, in seconds.
      upload_timeout_s: the same for an upload.
      progress_s: longest time in which a body grows by another 64 KiB, or ends, in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        functions: Mapping[int, calls.Function],
        uploads: Uploads,
        run_timeout_s: float = 10.0,
        upload_timeout_s: float = 120.0,
        progress_s: float = 10.0,
    ):
        self._app = app
        self._functions = functions
        self._uploads = uploads
        self._run_timeout_s = run_timeout_s
        self._upload_timeout_s = upload_timeout_s
        self._progress_s = progress_s
        self._uploading = 0
        self._turns = asyncio.Semaphore(_MOST_RUNS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        # Gradio finds saved states, and the progress of uploads, by it.
        scope = {**scope, "query_string": b""}
        try:
            answer = await self._answer(scope, receive)
        except RequestError as error:
            answer = JSONResponse({"error": str(error)}, error.status, HEADERS.get(error.status))
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        # Unquoted, as Gradio's router sees it.
        path, method = scope["path"].removesuffix("/"), scope["method"]
        if method == "POST" and path == _RUN:
            return await self._run(scope, receive)
        if method == "POST" and path == _UPLOAD:
            return await self._upload(scope, receive)
        if method in ("GET", "HEAD") and _STREAM.fullmatch(path):
            return Response(_ENDED, media_type="text/event-stream")
        if method in ("GET", "HEAD") and _READ.fullmatch(scope["path"]):
            return self._app
        raise RequestError("Nothing is here.", 404)

    async def _upload(self, scope: Scope, receive: Receive) -> ASGIApp:
        limited = _limited(receive, _MOST_UPLOADED_BYTES, self._upload_timeout_s, self._progress_s)
        # Clients that send no body keep out no others.
        first = await limited()
        if self._uploading >= _MOST_UPLOADS_AT_ONCE:
            raise RequestError("Too many pictures are being uploaded; try again.", 503)
        self._uploading += 1
        try:
            return JSONResponse([await self._uploads.store(Request(scope, _replayed(first, limited)))])
        except RequestError:
            raise
        except ValueError as error:
            raise RequestError(str(error), 400) from error
        except OSError as error:
            raise RequestError(f"The file cannot be stored: {error.strerror}.", 507) from error
        finally:
            self._uploading -= 1

    async def _run(self, scope: Scope, receive: Receive) -> ASGIApp:
        limited = _limited(receive, _MOST_BYTES, self._run_timeout_s, self._progress_s)
        body = await Request(scope, limited).body()
        call = calls.parse(body, self._functions, self._uploads)
        if call is None:
            raise RequestError("These are not values that the page sends; files must have been uploaded to it.", 403)

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            reply: list[Message] = []

            async def keep(message: Message) -> None:
                reply.append(message)

            try:
                async with self._turns:
                    message = {"type": "http.request", "body": call.body, "more_body": False}
                    await self._app(scope, _replayed(message, receive), keep)
            finally:
                for path in call.files:
                    self._uploads.delete(path)
            # Clients may read slowly, and must not keep others waiting.
            for message in reply:
                await send(message)

        return run


def _limited(receive: Receive, most_bytes: int, timeout_s: float, progress_s: float) -> Receive:
    """Receives a body, up to a size, for a time and while it grows; raises RequestError beyond."""
    receive, size = timed(receive, time.monotonic() + timeout_s, progress_s), 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most_bytes:
            raise RequestError("This is more than the page sends.", 413)
        return message

    return limited


def _replayed(message: Message, receive: Receive) -> Receive:
    """Receives a message that has been read before, and then whatever follows it."""
    messages = iter([message])

    async def replayed() -> Message:
        return next(messages, None) or await receive()

    return replayed
