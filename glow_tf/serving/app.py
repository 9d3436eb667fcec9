"""Web application, with limits on the origin, size and duration of requests."""

import asyncio
import dataclasses
import json
import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from glow_tf.data.picture_files import DEFAULT_MEGAPIXELS
from glow_tf.serving.batching import Runner
from glow_tf.serving.bodies import timed
from glow_tf.serving.errors import HEADERS, RequestError
from glow_tf.serving.hosts import CheckHosts, Hosts
from glow_tf.serving.json_worker import Json, unzipped_size
from glow_tf.serving.model import Model
from glow_tf.serving.pictures import PictureLimit
from glow_tf.serving.signature import Signature

_LOG = logging.getLogger("glow_tf.serving")
# Bytes of a body that every request may keep in memory; more is taken from a budget shared by all requests.
_FREE_BYTES = 1 << 16
# The shared budget, as a multiple of the size of the largest body.
_BODIES = 4
# Seconds in which a body must grow by another `PROGRESS_BYTES`, once it has as many.
_PROGRESS_S = 10.0
# Memory budget of the replies that wait or are being sent, in bytes; at least the size of the largest possible one.
_REPLY_BYTES = 1 << 30
# Bytes of a value in a reply, at most.
_VALUE_BYTES = 32
# Bytes of a reply to send at once.
_PIECE = 1 << 20
# Largest number of values in a reply by default: 60 MB of JSON for images, up to 270 MB for float32.
_MOST_VALUES = 1 << 24
# Largest number of values in a tensor of a graph by default, 1 GiB as float32.
_MOST_COMPUTED = 1 << 28
# Characters of an error message, which may quote the request.
_MOST_CHARACTERS = 1000


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Args:
      max_request_mb: largest size of a request's body, in 10^6 bytes.
      max_images: largest number of images in a request or its reply; an interpolation of n steps has n + 1.
      max_pending: largest number of concurrent requests; further ones are told to retry.
      timeout_s: longest time from the start of a request to its reply, in seconds.
      max_megapixels: largest size of a picture file, and of all files decoded at the same time, in 10^6 pixels.

    Raises:
      ValueError: if a limit is not positive and finite.
    """

    max_request_mb: float = 32.0
    max_images: int = 1024
    max_pending: int = 128
    timeout_s: float = 60.0
    max_megapixels: float = DEFAULT_MEGAPIXELS

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise ValueError(f"{field.name} must be positive and finite; it is {value}.")


def create_app(
    model: Model,
    runner: Runner,
    limits: Limits | None = None,
    hosts: Hosts | None = None,
    cors_origins: Sequence[str] = (),
) -> Starlette:
    """Returns the REST API of a model as an ASGI application.

    Args:
      model: the model, served at /v1/models/<name> and /v1/models/<name>/versions/<version>.
      runner: runs the model.
      limits: limits on requests; by default those of `Limits`.
      hosts: names of the server; by default those of the loopback address.
      cors_origins: origins of web pages that may send requests, such as `https://example.org`; `*` for all.
    """
    predictor = _Predictor(model, runner, limits or Limits())
    status, metadata = (json.dumps(document).encode() for document in (model.status(), model.metadata()))
    routes = []
    for url in (f"/v1/models/{model.name}", f"/v1/models/{model.name}/versions/{model.version}"):
        routes += [
            Route(url, _constant(status), methods=["GET"]),
            Route(f"{url}/metadata", _constant(metadata), methods=["GET"]),
            Route(f"{url}:predict", predictor.predict, methods=["POST"]),
            *(Route(f"{url}:{method}", _unsupported(method), methods=["POST"]) for method in ("classify", "regress")),
        ]

    async def refused(request: Request, error: Exception) -> Response:
        message = f"{request.method} is not allowed for this URL."
        if error.status_code == 404:
            urls = f"GET {routes[0].path}, GET {routes[1].path}, POST {routes[2].path}"
            message = f"Nothing is at {request.url.path[:200]}; version {model.version} of {model.name} is at: {urls}."
        return _error(message, error.status_code, error.headers)

    middleware = [Middleware(CheckHosts, hosts=hosts or Hosts("localhost"), origins=cors_origins)]
    if cors_origins:
        allowed = {"allow_methods": ["GET", "POST"], "allow_headers": ["Content-Type", "Content-Encoding"]}
        middleware.append(Middleware(CORSMiddleware, allow_origins=cors_origins, **allowed))
    return Starlette(routes=routes, exception_handlers={HTTPException: refused}, middleware=middleware)


def most_images(model: Model) -> int:
    """Returns the default of `Limits.max_images` for a model, which is smaller for large images or wide networks."""
    for_each = max(_output_size(signature, 1) - _output_size(signature, 0) for signature in model.signatures.values())
    computed = _MOST_COMPUTED // max(1, model.largest_tensor)
    return max(1, min(Limits.max_images, _MOST_VALUES // max(1, for_each), computed))


def images_at_once(model: Model, max_images: int | None, max_batch_size: int) -> int:
    """Returns the largest number of images to compute at the same time, in all requests together; see `Runner`.

    It is at least twice that of a request, so that one large request does not hold up all others. A small `max_images`
    does not prevent batches; its default, for None, may be small for lack of memory, and does.
    """
    if max_images is None:
        return 2 * most_images(model)
    return max(2 * max_images, max_batch_size)


def _output_size(signature: Signature, images: int) -> int:
    """Returns the number of values in the outputs of a signature for `images` images."""
    specs = [spec for spec in signature.outputs.values() if spec.shape is not None]
    return sum(math.prod(size or 1 for size in spec.shape) * (images if spec.has_rows else 1) for spec in specs)


def _bytes_of(array: np.ndarray) -> int:
    """Returns the memory of an array of numbers or of bytes objects."""
    return array.nbytes + (sum(map(len, array.ravel())) if array.dtype == object else 0)


class _Predictor:
    """Handles the predict requests of a model."""

    def __init__(self, model: Model, runner: Runner, limits: Limits):
        self._runner = runner
        self._limits = limits
        self._largest = int(limits.max_request_mb * 1e6)
        most_values = max(_output_size(signature, limits.max_images) for signature in model.signatures.values())
        self._json = Json(model.signatures, self._largest, most_values)
        self._pictures = PictureLimit(limits.max_megapixels)
        self._pending = 0
        self._memory = _Memory(_BODIES * self._largest)
        self._replies = _Memory(max(_REPLY_BYTES, _VALUE_BYTES * most_values))
        # One thread per request, as threads wait for their batch.
        self._threads = ThreadPoolExecutor(limits.max_pending, thread_name_prefix="predict")

    async def predict(self, request: Request) -> Response:
        deadline = time.monotonic() + self._limits.timeout_s
        try:
            content = await self._reply(request, deadline)
            share = self._replies.share()
            share.reserve(len(content))
            return _Reply(content, share)
        except RequestError as error:
            return _error(str(error), error.status, HEADERS.get(error.status))
        except ClientDisconnect:
            return _error("The client disconnected before the end of the request.", 400)
        except Exception as error:
            text = " ".join(str(error).split())
            _LOG.error("unexpected error: %s: %.500s", type(error).__name__, text)
            return _error("Internal error; see the server's log.", 500)

    async def _reply(self, request: Request, deadline: float) -> bytes:
        gzipped = _is_gzipped(request)
        share = self._memory.share()
        try:
            body = await self._body(request, share, deadline)
            if gzipped:
                # With its text, this limits what is parsed from it, which has a few times its size.
                share.reserve(len(body) + unzipped_size(body, self._largest))
            # Only now, so that clients that send no body keep out no others.
            if self._pending >= self._limits.max_pending:
                raise RequestError("The server has too many requests already; try again.", 503)
            work = asyncio.get_running_loop().run_in_executor(self._threads, self._work, body, gzipped, deadline)
            self._pending += 1
        except BaseException:
            share.release()
            raise
        # TensorFlow cannot be interrupted: an abandoned request counts as pending until it is done.
        work.add_done_callback(lambda work: self._done(share, work))
        await asyncio.wait([work], timeout=deadline - time.monotonic())
        if not work.done():
            raise RequestError(f"This takes longer than {self._limits.timeout_s:g} seconds.", 504)
        return work.result()

    def _done(self, share: "_Share", work: asyncio.Future) -> None:
        self._pending -= 1
        share.release()
        # Retrieved here, as asyncio complains about exceptions that are never retrieved.
        if not work.cancelled():
            work.exception()

    async def _body(self, request: Request, share: "_Share", deadline: float) -> bytes:
        """Reads the body if it is not too large; the length stated in the header is not trusted."""
        too_large = RequestError(f"A request may have at most {self._limits.max_request_mb:g} MB.", 413)
        # A client that waits for 100-continue can be refused before it sends the body.
        stated = request.headers.get("content-length", "")
        if "expect" in request.headers and stated.isdecimal() and int(stated) > self._largest:
            raise too_large
        chunks, size = [], 0
        receive = timed(request.receive, deadline, _PROGRESS_S, from_start=False)
        async for chunk in Request(request.scope, receive).stream():
            size += len(chunk)
            # Other clients read the reply only after sending everything: some excess is read and discarded.
            if size > 2 * self._largest:
                raise too_large
            if size <= self._largest:
                share.reserve(size)
                chunks.append(chunk)
        if size > self._largest:
            raise too_large
        return b"".join(chunks)

    def _work(self, body: bytes, gzipped: bool, deadline: float) -> bytes:
        """Handles a request in a thread, including its JSON, which is slow for large requests."""
        try:
            request = self._json.parse(body, deadline, gzipped=gzipped)
            if request.images > self._limits.max_images:
                most = self._limits.max_images
                raise RequestError(f"This request is about {request.images} images; the server takes {most} at once.")
            with self._pictures.reserved(request, deadline):
                outputs = self._runner.run(request, deadline)
            # Counted here too, as outputs wait for one of two writers.
            share = self._replies.share()
            share.reserve(sum(map(_bytes_of, outputs.values())))
            try:
                return self._json.reply(outputs, request.by_rows, deadline)
            finally:
                share.release()
        except MemoryError:
            raise RequestError("There is not enough memory for this request; ask for less at once.", 503) from None


class _Memory:
    """Memory budget of all requests or replies together, in bytes; the first `_FREE_BYTES` of each do not count."""

    def __init__(self, size: int):
        self._left = size
        self._lock = threading.Lock()

    def share(self) -> "_Share":
        return _Share(self)

    def reserve(self, size: int) -> bool:
        """Reserves `size` bytes, or releases them if negative; returns False if too few are left."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True


class _Share:
    """Memory reserved by one request or reply."""

    def __init__(self, memory: _Memory):
        self._memory = memory
        self._reserved = 0

    def reserve(self, size: int) -> None:
        """Reserves the memory for `size` bytes.

        Raises:
          RequestError: if too little is left.
        """
        more = max(0, size - _FREE_BYTES) - self._reserved
        if not self._memory.reserve(more):
            raise RequestError("The server has too many large requests already; try again.", 503)
        self._reserved += more

    def release(self) -> None:
        """Releases all of its memory."""
        self._memory.reserve(-self._reserved)
        self._reserved = 0


class _Reply(Response):
    """A reply whose memory is reserved until it is sent."""

    def __init__(self, content: bytes, share: _Share):
        super().__init__(content, media_type="application/json")
        self._share = share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # In pieces, as `send` waits only for what was sent before.
            for start in range(0, len(self.body), _PIECE):
                piece = self.body[start : start + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._share.release()


def _is_gzipped(request: Request) -> bool:
    """Returns whether the body is compressed.

    Raises:
      RequestError: if it is not JSON, or is compressed by anything but gzip.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        found = f"; it is {kind[:100]!r}" if kind else ""
        raise RequestError(f"The Content-Type of a request must be application/json{found}.", 415)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise RequestError(f"The Content-Encoding of a request may be gzip; it is {encoding[:100]!r}.", 415)
    return encoding == "gzip"


def _unsupported(method: str):
    async def refuse(request: Request) -> Response:
        return _error(
            f"Expected a signature with the method name tensorflow/serving/{method}; those of this model have "
            "tensorflow/serving/predict. Use :predict.",
            400,
        )

    return refuse


def _constant(document: bytes):
    async def get(request: Request) -> Response:
        return Response(document, media_type="application/json")

    return get


def _error(message: str, status: int, headers=None) -> Response:
    if len(message) > _MOST_CHARACTERS:
        message = f"{message[:_MOST_CHARACTERS]} ..."
    return JSONResponse({"error": message}, status, headers)
