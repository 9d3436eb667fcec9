"""The server under load: with valid and invalid requests at once, none is lost or gets the reply to another."""

import json

import numpy as np
import pytest

from tests.serving.examples import FILES, as_json, assert_same, by_rows, direct
from tests.serving.load import figures, send

IMAGES = np.random.default_rng(2).integers(0, 256, [24, 8, 8, 3]).astype(np.uint8)

# Request bodies, and text that must be in the error.
BAD = [
    (b"{", "not valid JSON"),
    (b"", "not valid JSON"),
    (b"[" * 10_000, "nested too deeply"),
    (b'{"instances": [[1.5]]}', "shape found is [1, 1]"),
    (b'{"signature_name": "none", "inputs": 1}', "no signature"),
    (json.dumps({"instances": np.full([1, 8, 8, 3], 300).tolist()}).encode(), "300 is not between"),
    (b'{"signature_name": "encode_bytes", "instances": [{"b64": "AAAA"}]}', "assertion failed: [image_bytes must be"),
    (b'{"signature_name": "encode_bytes", "instances": [{"b64": "?"}]}', "bad base64"),
    (b'{"signature_name": "sample", "inputs": -1}', "assertion failed: [num must not be negative; it is] [-1]"),
    (b'{"signature_name": "sample", "inputs": 100000}', "about 100000 images"),
]


def good(model):
    """Request bodies and the expected replies."""
    examples = []
    for i, image in enumerate(IMAGES):
        images = image[np.newaxis]
        for name in ("serving_default", "reconstruct", "encode"):
            body = {"signature_name": name, "instances": images.tolist()}
            examples.append((body, {"predictions": by_rows(direct(model, name, {"images": images}))}))
        several = {"images": IMAGES[: 1 + i % 7]}
        body = {"signature_name": "reconstruct", "inputs": several["images"].tolist()}
        examples.append((body, {"outputs": direct(model, "reconstruct", several)["images"]}))
        draw = {"num": np.int32(2), "temperature": np.float32(1), "seed": np.int32(i)}
        body = {"signature_name": "sample", "inputs": {"num": 2, "seed": i}}
        examples.append((body, {"outputs": direct(model, "sample", draw)["images"]}))
    for file in FILES:
        body = {"signature_name": "encode_bytes", "instances": [as_json(file)]}
        found = direct(model, "encode_bytes", {"image_bytes": np.array([file], object)})
        examples.append((body, {"predictions": found["latents"]}))
    return [(json.dumps(body).encode(), expected) for body, expected in examples]


@pytest.mark.slow
def test_no_request_is_lost_or_mistaken_for_another(running, model, capsys):
    clients = 32
    examples = good(model)
    requests = examples * 4 + BAD * 20
    order = np.random.default_rng(0).permutation(len(requests))
    requests = [requests[i] for i in order]
    process, port, _ = running
    # Warms up: the first run of a signature is slow.
    send(port, [body for body, _ in examples[:5] + examples[-1:]], 1)
    answers, seconds = send(port, [body for body, _ in requests], clients)
    assert [answer.number for answer in answers] == list(range(len(requests)))
    for answer, (_, expected) in zip(answers, requests, strict=True):
        if isinstance(expected, str):
            assert answer.status == 400 and expected in answer.document["error"], answer
        else:
            assert answer.status == 200, answer
            assert_same(answer.document, expected)
    assert process.poll() is None
    assert len(send(port, [examples[0][0]], 1)[0]) == 1
    with capsys.disabled():
        print(f"\n{len(requests)} requests, {clients} clients: {figures(answers, seconds)}")
