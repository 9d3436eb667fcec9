"""Time limits for the bodies of requests."""

import time

import anyio
from starlette.types import Message, Receive

from glow_tf.serving.errors import RequestError

# Bytes by which a body must grow for its client to count as sending.
PROGRESS_BYTES = 1 << 16


def timed(receive: Receive, end: float, progress_s: float, *, from_start: bool = True) -> Receive:
    """Returns `receive` for a body that must arrive by `end` and grow by `PROGRESS_BYTES` every `progress_s` seconds.

    The returned function raises RequestError, with status 408, if it does not.

    Args:
      receive: receives the messages of the body.
      end: latest end of the body, in seconds on the clock of `time.monotonic`.
      progress_s: longest time in which the body grows by another `PROGRESS_BYTES`, or ends, in seconds.
      from_start: whether this holds for the first `PROGRESS_BYTES` too; otherwise these only have to arrive by `end`.
    """
    size, noted = 0, 0
    deadline = min(end, time.monotonic() + progress_s) if from_start else end

    async def receive_in_time() -> Message:
        nonlocal size, noted, deadline
        try:
            # `asyncio.timeout` needs Python 3.11.
            with anyio.fail_after(max(0, deadline - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise RequestError("The request took too long to arrive.", 408) from None
        size += len(message.get("body", b""))
        if size >= noted + PROGRESS_BYTES:
            noted, deadline = size, min(end, time.monotonic() + progress_s)
        return message

    return receive_in_time
