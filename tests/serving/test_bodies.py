"""Bodies of requests must arrive in time, and keep growing."""

import asyncio
import math
import time

import pytest

from glow_tf.serving.bodies import PROGRESS_BYTES, timed
from glow_tf.serving.errors import RequestError


def received(*sizes, timeout_s=math.inf, progress_s=math.inf, pause_s=0.0, **options):
    """Receives the parts of a body of these sizes, each after a pause, and then waits for a part that never comes."""

    async def run():
        parts, found = iter(sizes), []

        async def receive():
            await asyncio.sleep(pause_s)
            size = next(parts, None)
            if size is None:
                await asyncio.sleep(600)
            return {"type": "http.request", "body": bytes(size), "more_body": True}

        receive = timed(receive, time.monotonic() + timeout_s, progress_s, **options)
        with pytest.raises(RequestError, match="too long to arrive") as refused:
            while True:
                found.append(len((await receive())["body"]))
        assert refused.value.status == 408
        return found

    return asyncio.run(run())


def test_the_whole_body_must_arrive_by_the_end():
    assert received(timeout_s=0.05) == []
    assert received(10, PROGRESS_BYTES, timeout_s=0.3) == [10, PROGRESS_BYTES]
    # However much of it arrives in the meantime.
    assert len(received(*[PROGRESS_BYTES] * 20, timeout_s=0.25, pause_s=0.1)) < 4


def test_a_body_must_keep_growing():
    assert received(10, progress_s=0.3) == [10]
    assert received(*[PROGRESS_BYTES] * 4, progress_s=0.3, pause_s=0.1) == [PROGRESS_BYTES] * 4
    # Single bytes are not enough.
    assert len(received(*[1] * 20, progress_s=0.25, pause_s=0.1)) < 4


def test_small_bodies_may_be_given_all_the_time():
    options = {"timeout_s": 0.6, "progress_s": 0.05, "from_start": False}
    assert received(1, 1, pause_s=0.1, **options) == [1, 1]
    before = time.monotonic()
    assert received(PROGRESS_BYTES, timeout_s=600, progress_s=0.3, from_start=False) == [PROGRESS_BYTES]
    assert time.monotonic() - before < 60
