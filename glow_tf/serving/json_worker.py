"""Parses and writes the JSON of large requests and replies in separate processes.

Python's `json` needs twenty times the size of a request in memory, and blocks all other threads. A few processes with
limited memory do this work, so that only the affected requests wait.
"""

import contextlib
import gc
import pathlib
import pickle
import queue
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from glow_tf.serving import rest
from glow_tf.serving.errors import RequestError
from glow_tf.serving.signature import Signature

# Smaller requests and replies are processed directly, which takes a few milliseconds and a few MB.
_SMALL_BYTES = 1 << 18
_SMALL_NUMBERS = 1 << 16
# Memory for each byte of a request: lists of numbers need up to thirteen times the size of their text.
_PARSED_BYTES = 16
# Memory for each value of a reply: at most 8 bytes in the array, and 25 in the text, which is over-allocated by 1/8.
_WRITTEN_BYTES = 40
_HEADER_BYTES = 8


class Json:
    """Reads requests and writes replies; see `rest.parse` and `rest.reply`.

    Args:
      signatures: signatures of the model.
      most_bytes: largest size of a request's decompressed JSON.
      most_values: number of values in the largest reply.
      workers: number of processes for large requests and replies.
      memory: memory limit of each process in bytes; by default enough for requests of `most_bytes` and replies of
        `most_values`.
    """

    def __init__(
        self,
        signatures: Mapping[str, Signature],
        most_bytes: int,
        most_values: int = 0,
        *,
        workers: int = 2,
        memory: int | None = None,
    ):
        self._signatures = signatures
        self._most_bytes = most_bytes
        memory = memory or max(1 << 28, _PARSED_BYTES * most_bytes, (1 << 27) + _WRITTEN_BYTES * most_values)
        # First come, first served.
        self._workers: queue.Queue[_Worker] = queue.Queue()
        for _ in range(workers):
            self._workers.put(_Worker(signatures, memory))

    def parse(self, body: bytes, deadline: float, *, gzipped: bool = False) -> rest.Request:
        """Parses a request's body by `deadline`, in seconds on the clock of `time.monotonic`.

        Raises:
          RequestError: if it is invalid, too large, or takes too long.
        """
        if len(body) <= _SMALL_BYTES and not gzipped:
            return rest.parse(body, self._signatures)
        return self._call_worker(deadline, "parse", body, self._most_bytes, gzipped)

    def reply(self, outputs: Mapping[str, np.ndarray], by_rows: bool, deadline: float) -> bytes:
        """Writes a reply by `deadline`.

        Raises:
          RequestError: if the outputs have no rows, or it is too large or takes too long.
        """
        if sum(value.size for value in outputs.values()) <= _SMALL_NUMBERS:
            return rest.reply(outputs, by_rows)
        return self._call_worker(deadline, "reply", outputs, by_rows)

    def close(self) -> None:
        """Stops the processes."""
        while True:
            try:
                self._workers.get_nowait().stop()
            except queue.Empty:
                return

    def _call_worker(self, deadline: float, *call: Any) -> Any:
        try:
            worker = self._workers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise RequestError("The server was too busy to begin in time.", 504) from None
        try:
            return worker.call(call, deadline)
        finally:
            self._workers.put(worker)


class _Worker:
    """A process that is started on demand, and restarted if it has died."""

    def __init__(self, signatures: Mapping[str, Signature], memory: int):
        self._start = dict(signatures), memory
        self._process: subprocess.Popen | None = None

    def call(self, call: tuple, deadline: float) -> Any:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            # Process managers send SIGTERM to the workers too, which the server stops once its requests are done.
            ignore = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
            code = f"{ignore}; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C should reach only the server, which stops its workers.
                start_new_session=True,
            )
            _send(self._process.stdin, self._start)
        late = threading.Timer(max(0.0, deadline - time.monotonic()), self._process.kill)
        late.start()
        try:
            _send(self._process.stdin, call)
            result = _unpickled(_receive(self._process.stdout))
        except (OSError, EOFError):
            code = self._process.wait()
            self.stop()
            if time.monotonic() >= deadline:
                raise RequestError("This takes too long.", 504) from None
            raise RuntimeError(f"the process for JSON ended with the code {code}") from None
        finally:
            late.cancel()
            late.join()
            if time.monotonic() >= deadline:
                # The process may have been killed after its work was done.
                self.stop()
        if isinstance(result, MemoryError):
            # Not 503, after which clients would ask again for the same.
            if call[0] == "reply":
                raise RequestError("The reply is larger than the server's memory for it; ask for fewer images at once.")
            raise RequestError("This request takes more memory than the server has for one; ask for less at once.", 413)
        if isinstance(result, tuple):
            raise RequestError(*result)
        return result

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout):
            # Closing flushes pending input, which fails as the process is dead.
            with contextlib.suppress(OSError):
                file.close()
        self._process = None


def main() -> None:
    """Runs a worker, which reads calls from stdin and writes their results to stdout."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    signatures, memory = _unpickled(_receive(stdin))
    _limit_memory(memory)
    # A call creates millions of lists, none of which is garbage before it ends.
    gc.disable()
    while True:
        try:
            call = _receive(stdin)
        except EOFError:
            return
        _send(stdout, _result(call, signatures))
        del call
        gc.collect()


def _result(call: list[bytes], signatures: Mapping[str, Signature]) -> Any:
    """Returns the result of a pickled call: a request, text, or an error as a message with its status."""
    try:
        name, *arguments = _unpickled(call)
        if name == "reply":
            return pickle.PickleBuffer(rest.reply(*arguments))
        body, most, gzipped = arguments
        return rest.parse(unzipped(body, most) if gzipped else body, signatures)
    except RequestError as error:
        return str(error), error.status
    except MemoryError:
        return MemoryError()


def unzipped_size(body: bytes, most: int) -> int:
    """Returns the size that a gzipped body states in its last four bytes, at most `most`; `unzipped` gives no more."""
    return min(most, int.from_bytes(body[-4:], "little"))


def unzipped(body: bytes, most: int) -> bytes:
    """Decompresses a gzipped body.

    Raises:
      RequestError: if it is invalid, or larger than `most` bytes or than it states.
    """
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    stated = unzipped_size(body, most)
    try:
        content = decompressor.decompress(body, stated + 1)
    except zlib.error as error:
        raise RequestError(f"The request says it is compressed by gzip, and is not: {error}.") from None
    if len(content) > most:
        raise RequestError(f"A request may have {most / 1e6:g} MB; this one has more, decompressed.", 413)
    if len(content) > stated or not decompressor.eof or decompressor.unused_data:
        raise RequestError("The request is compressed by gzip, and broken off or followed by something else.")
    return content


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:
        return
    # Limits private memory, without libraries; only Linux enforces it.
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    used = 0
    with contextlib.suppress(FileNotFoundError):
        # Not `ru_maxrss`, which includes the peak of the parent process.
        used = int(pathlib.Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    limit = min(memory + used, sys.maxsize)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _send(file: BinaryIO, value: Any) -> None:
    """Writes an object as length-prefixed frames: its pickle, and the buffers of arrays, which are not copied."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    file.write(len(buffers).to_bytes(_HEADER_BYTES, "big"))
    for content in (pickled, *(buffer.raw() for buffer in buffers)):
        file.write(len(content).to_bytes(_HEADER_BYTES, "big"))
        file.write(content)
    file.flush()


def _receive(file: BinaryIO) -> list[bytes]:
    """Reads the frames that `_send` wrote. Raises EOFError if they break off."""
    return [_exactly(file, _number(file)) for _ in range(1 + _number(file))]


def _unpickled(frames: list[bytes]) -> Any:
    return pickle.loads(frames[0], buffers=frames[1:])


def _number(file: BinaryIO) -> int:
    return int.from_bytes(_exactly(file, _HEADER_BYTES), "big")


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return content


if __name__ == "__main__":
    main()
