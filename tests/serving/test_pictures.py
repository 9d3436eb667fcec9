"""Photographs in requests: too large ones are refused, and only a few are decoded at a time."""

import json
import struct
import time
import zlib

import pytest
import tensorflow as tf

from glow_tf.serving import rest
from glow_tf.serving.errors import RequestError
from glow_tf.serving.pictures import PictureLimit
from tests.serving.examples import as_json, photograph


def request_of(model, files, signature="encode_bytes"):
    body = {"signature_name": signature, "instances": [as_json(file) for file in files]}
    return rest.parse(json.dumps(body).encode(), model.signatures)


def later():
    return time.monotonic() + 60


@pytest.mark.parametrize(("height", "width"), [(101, 100), (1, 10_001), (20_000, 20_000)])
def test_a_picture_beyond_the_limit_is_named(model, height, width):
    limit = PictureLimit(0.01)
    with limit.reserved(request_of(model, [photograph(100, 100)] * 3), later()):
        pass
    large = photograph(8, 8, "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + large[24:29]
    large = large[:12] + header + struct.pack(">I", zlib.crc32(header)) + large[33:]
    with pytest.raises(RequestError, match="image_bytes number 1, from 0, .*0.01") as refused:
        with limit.reserved(request_of(model, [photograph(90, 40, "PNG"), large]), later()):
            pass
    assert refused.value.status == 400


def with_bad_gamma(png):
    """A PNG file with a wrong checksum of a chunk that does not matter, which TensorFlow passes over."""
    return png[:33] + struct.pack(">I", 4) + b"gAMA" + struct.pack(">I", 45455) + b"\0\0\0\0" + png[33:]


def test_what_pillow_refuses_counts_as_what_tensorflow_decodes(model):
    large = with_bad_gamma(photograph(101, 100, "PNG"))
    assert tf.io.decode_image(large).shape == [101, 100, 3]
    limit = PictureLimit(0.01)
    with pytest.raises(RequestError, match="image_bytes number 0, from 0, has 101x100 pixels"):
        with limit.reserved(request_of(model, [large]), later()):
            pass
    for file in (with_bad_gamma(photograph(80, 80, "PNG")), photograph(8, 8)[:10]):
        with limit.reserved(request_of(model, [file]), later()):
            with pytest.raises(RequestError, match="too busy with large pictures"):
                with limit.reserved(request_of(model, [photograph(80, 80)]), time.monotonic()):
                    pass


def test_two_that_are_too_large_together_take_turns(model):
    limit, request = PictureLimit(0.01), request_of(model, [photograph(80, 80)])
    with limit.reserved(request, later()):
        with pytest.raises(RequestError, match="too busy with large pictures") as refused:
            with limit.reserved(request, time.monotonic() + 0.01):
                pass
        assert refused.value.status == 504
        # There is still room for small pictures, and for files that are not pictures.
        for other in ([photograph(3, 5)], [b"text"]):
            with limit.reserved(request_of(model, other), time.monotonic()):
                pass
    with limit.reserved(request, later()):
        pass
