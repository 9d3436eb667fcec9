"""The web application: who may ask what, how much of it, and how long it may take."""

import asyncio
import dataclasses
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from glow_tf.serving import rest
from glow_tf.serving.batching import Runner
from glow_tf.serving.model import Model
from glow_tf.serving.signature import RequestError

_LOG = logging.getLogger("glow_tf.serving")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Args:
      max_request_mb: size of a request's body, in 10^6 bytes.
      max_images: images that a request may be about: rows, and `num` or `steps` of them.
      max_pending: requests at the same time; more are told to come again.
      timeout_s: seconds from a request's beginning to its reply.

    Raises:
      ValueError: if one of them is not positive.
    """

    max_request_mb: float = 32.0
    max_images: int = 1024
    max_pending: int = 128
    timeout_s: float = 60.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name} must be positive; it is {value}.")


def create_app(model: Model, runner: Runner, limits: Limits | None = None) -> Starlette:
    """The REST API of a model, as an ASGI application.

    Args:
      model: what is served, at /v1/models/<name> and /v1/models/<name>/versions/<version>.
      runner: what runs it.
      limits: by default those of `Limits`.
    """
    predictor = _Predictor(model, runner, limits or Limits())
    status, metadata = (json.dumps(document).encode() for document in (model.status(), model.metadata()))
    routes = []
    for url in (f"/v1/models/{model.name}", f"/v1/models/{model.name}/versions/{model.version}"):
        routes += [
            Route(url, _constant(status), methods=["GET"]),
            Route(f"{url}/metadata", _constant(metadata), methods=["GET"]),
            Route(f"{url}:predict", predictor.predict, methods=["POST"]),
        ]

    async def refused(request: Request, error: Exception) -> Response:
        message = f"{request.method} is not for this URL."
        if error.status_code == 404:
            urls = f"GET {routes[0].path}, GET {routes[1].path}, POST {routes[2].path}"
            message = f"Nothing is at {request.url.path[:200]}; version {model.version} of {model.name} is: {urls}."
        return _error(message, error.status_code, error.headers)

    return Starlette(routes=routes, exception_handlers={HTTPException: refused})


class _Predictor:
    """Answers the predict requests of one model."""

    def __init__(self, model: Model, runner: Runner, limits: Limits):
        self._model = model
        self._runner = runner
        self._limits = limits
        self._pending = 0
        # Threads wait for their batch, so there is one for each request.
        self._threads = ThreadPoolExecutor(limits.max_pending, thread_name_prefix="predict")

    async def predict(self, request: Request) -> Response:
        deadline = time.monotonic() + self._limits.timeout_s
        try:
            return Response(await self._reply(request, deadline), media_type="application/json")
        except RequestError as error:
            # One who goes on sending is cut off.
            headers = {413: {"Connection": "close"}, 408: {"Connection": "close"}, 503: {"Retry-After": "1"}}
            return _error(str(error), error.status, headers.get(error.status))
        except ClientDisconnect:
            return _error("The request broke off.", 400)
        except Exception as error:
            text = " ".join(str(error).split())
            _LOG.error("unexpected error: %s: %.500s", type(error).__name__, text)
            return _error("The server failed at this request; its log says why.", 500)

    async def _reply(self, request: Request, deadline: float) -> bytes:
        if self._pending >= self._limits.max_pending:
            raise RequestError("The server has too many requests already; try again.", 503)
        self._pending += 1
        try:
            body = await self._body(request, deadline)
            work = asyncio.get_running_loop().run_in_executor(self._threads, self._work, body, deadline)
        except BaseException:
            self._pending -= 1
            raise
        # TensorFlow cannot be interrupted: a request that is given up on counts until it is done.
        work.add_done_callback(self._done)
        await asyncio.wait([work], timeout=deadline - time.monotonic())
        if not work.done():
            raise RequestError(f"This takes longer than {self._limits.timeout_s:g} seconds.", 504)
        return work.result()

    def _done(self, work: asyncio.Future) -> None:
        self._pending -= 1
        # Nobody else may look at it any more, of which asyncio would complain.
        if not work.cancelled():
            work.exception()

    async def _body(self, request: Request, deadline: float) -> bytes:
        """The body, if it is not too large; what the header says of its length is not believed."""
        largest = int(self._limits.max_request_mb * 1e6)
        too_large = RequestError(f"A request may have {self._limits.max_request_mb:g} MB; this one has more.", 413)
        # A client that waits for a word before it sends the body can be told at once.
        stated = request.headers.get("content-length", "")
        if "expect" in request.headers and stated.isdecimal() and int(stated) > largest:
            raise too_large
        chunks, size = [], 0
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                async for chunk in request.stream():
                    size += len(chunk)
                    # Others read the reply once they have sent all: some more is read, and dropped.
                    if size > 2 * largest:
                        raise too_large
                    if size <= largest:
                        chunks.append(chunk)
        except TimeoutError:
            raise RequestError("The request took too long to arrive.", 408) from None
        if size > largest:
            raise too_large
        return b"".join(chunks)

    def _work(self, body: bytes, deadline: float) -> bytes:
        """What a thread does: JSON too, which takes long for large requests."""
        try:
            request = rest.parse(body, self._model.signatures)
            if request.images > self._limits.max_images:
                most = self._limits.max_images
                raise RequestError(f"This request is about {request.images} images; the server takes {most} at once.")
            return rest.reply(self._runner.run(request, deadline), request.by_rows)
        except MemoryError:
            raise RequestError("There is not enough memory for this request; ask for less at once.", 503) from None


def _constant(document: bytes):
    async def get(request: Request) -> Response:
        return Response(document, media_type="application/json")

    return get


def _error(message: str, status: int, headers=None) -> Response:
    return JSONResponse({"error": message}, status, headers)
