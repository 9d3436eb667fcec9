"""Large requests and replies, which are read and written by separate processes."""

import gzip
import json
import subprocess
import threading
import time

import numpy as np
import pytest

from glow_tf.serving import rest
from glow_tf.serving.errors import RequestError
from glow_tf.serving.json_worker import Json
from glow_tf.serving.signature import Signature, Spec

SIGNATURES = {
    "serving_default": Signature(
        "serving_default",
        {"images": Spec("images", "uint8", (None, 32, 32, 3))},
        {"y": Spec("y", "float32", (None,))},
        {},
    )
}
IMAGES = np.random.default_rng(0).integers(0, 256, [64, 32, 32, 3]).astype(np.uint8)
BODY = json.dumps({"instances": IMAGES.tolist()}).encode()
MB = 10**6


@pytest.fixture(scope="module")
def reader():
    reader = Json(SIGNATURES, 32 * MB)
    yield reader
    reader.close()


def soon():
    return time.monotonic() + 600


def test_what_is_large_is_read_and_written_as_what_is_small(reader):
    assert len(BODY) > 2**18
    found = reader.parse(BODY, soon())
    np.testing.assert_array_equal(found.inputs["images"], IMAGES)
    assert found.by_rows and found.inputs["images"].dtype == np.uint8
    compressed = reader.parse(gzip.compress(BODY), soon(), gzipped=True)
    np.testing.assert_array_equal(compressed.inputs["images"], IMAGES)
    outputs = {"images": IMAGES}
    assert reader.reply(outputs, True, soon()) == rest.reply(outputs, True)


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"[" + b" " * MB, 400, "not valid JSON"),
        (b'{"instances": [' + b"[" * MB, 400, "nested too deeply"),
        (b'{"instances": [' + b"[]," * MB + b"[]]}", 400, "images must have shape"),
        (b'{"instances": [' + b"{}," * MB + b"{}]}", 400, "needs the input images"),
    ],
)
def test_errors_come_back(reader, body, status, why):
    with pytest.raises(RequestError, match=why) as found:
        reader.parse(body, soon())
    assert found.value.status == status
    assert len(reader.parse(BODY, soon()).inputs["images"]) == 64


def test_memory_is_bounded():
    """The parsed objects would take about 700 MB."""
    reader = Json(SIGNATURES, 32 * MB, workers=1, memory=100 * MB)
    try:
        with pytest.raises(RequestError, match="more memory") as found:
            reader.parse(b'{"instances": [' + b"{}," * (10 * MB) + b"{}]}", soon())
        # Not 503, after which clients ask again.
        assert found.value.status == 413
        assert len(reader.parse(BODY, soon()).inputs["images"]) == 64
        with pytest.raises(RequestError, match="fewer images at once") as found:
            reader.reply({"file_bytes": np.array([b" " * (40 * MB), *[b""] * 2**16], object)}, False, soon())
        assert found.value.status == 400
    finally:
        reader.close()


def test_replies_take_little_more_memory_than_their_text():
    """At once, the 2 MB of text and the objects it is made of would take about 190 bytes for each number."""
    reader = Json(SIGNATURES, 32 * MB, workers=1, memory=25 * MB)
    values = np.arange(2**18, dtype=np.float32) / 8
    try:
        found = json.loads(reader.reply({"values": values}, False, soon()))
        np.testing.assert_array_equal(found["outputs"], values)
    finally:
        reader.close()


@pytest.mark.parametrize("most_values", [512 * 64 * 64 * 3, 10**30])
def test_the_memory_is_enough_for_the_largest_reply_whatever_the_size_of_requests(most_values):
    images = np.full([512, 64, 64, 3], 200, np.uint8)
    reader = Json(SIGNATURES, MB, most_values, workers=1)
    try:
        assert len(reader.reply({"images": images}, False, soon())) > 4 * images.size
    finally:
        reader.close()


def test_a_signal_to_all_processes_of_the_server_leaves_the_workers_at_work(monkeypatch):
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    reader = Json(SIGNATURES, 32 * MB, workers=1)
    try:
        for _ in range(2):
            assert len(reader.parse(BODY, soon()).inputs["images"]) == 64
            started[0].terminate()
        assert len(reader.parse(BODY, soon()).inputs["images"]) == 64
        assert len(started) == 1
    finally:
        reader.close()


def test_time_is_bounded():
    reader = Json(SIGNATURES, 32 * MB, workers=1)
    try:
        reader.parse(BODY, soon())
        with pytest.raises(RequestError, match="takes too long") as found:
            reader.parse(b'{"instances": [' + b"{}," * (5 * MB) + b"{}]}", time.monotonic() + 0.2)
        assert found.value.status == 504
        with pytest.raises(RequestError, match="takes too long|too busy"):
            reader.parse(BODY, time.monotonic() - 1)
        assert len(reader.parse(BODY, soon()).inputs["images"]) == 64
    finally:
        reader.close()


def test_others_are_answered_meanwhile(reader):
    """While large bodies are read, small ones are not held up by Python's global interpreter lock."""
    large = b'{"instances": [' + b"{}," * (MB // 3) + b"{}]}"
    small = json.dumps({"instances": IMAGES[:1].tolist()}).encode()
    # Starts the worker processes.
    for _ in range(2):
        reader.parse(BODY, soon())

    def read_large():
        with pytest.raises(RequestError):
            reader.parse(large, soon())

    threads = [threading.Thread(target=read_large) for _ in range(4)]
    for thread in threads:
        thread.start()
    count = 0
    while any(thread.is_alive() for thread in threads):
        reader.parse(small, soon())
        count += 1
    # If each small body waited for a large one, there would be only as many as large ones.
    assert count > 12
