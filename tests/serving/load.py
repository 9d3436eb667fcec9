"""Load test of the server: requests per second and latency with many clients at once.

  python -m tests.serving.load [SAVED_MODEL]

prints a table for one and for many clients, with and without batching, by default for the pretrained model.
"""

import dataclasses
import http.client
import itertools
import json
import pathlib
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

URL = "/v1/models/glow:predict"
JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """A reply: the index of its request, the status, the parsed JSON, and the latency in seconds."""

    number: int
    status: int
    document: dict
    seconds: float


def send(port: int, bodies: list[bytes], clients: int) -> tuple[list[Answer], float]:
    """Sends requests from several clients, each of which keeps one connection and takes the next unsent request.

    Returns:
      One answer per request, in the order of the requests, and the total time in seconds.
    """
    numbers, answers, start = itertools.count(), [], threading.Barrier(clients)

    def client(_):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        start.wait()
        while (number := next(numbers)) < len(bodies):
            began = time.perf_counter()
            connection.request("POST", URL, bodies[number], JSON)
            response = connection.getresponse()
            content = response.read()
            seconds = time.perf_counter() - began
            answers.append(Answer(number, response.status, json.loads(content), seconds))
        connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(client, range(clients)))
    return sorted(answers, key=lambda answer: answer.number), time.perf_counter() - began


def figures(answers: list[Answer], seconds: float) -> str:
    """Formats throughput and latency as text."""
    p50, p99 = np.percentile([1000 * answer.seconds for answer in answers], [50, 99])
    return f"{len(answers) / seconds:6.0f} requests/s   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms"


def main() -> None:
    """Prints the table."""
    from glow_tf.serving.model import Model
    from tests.serving.processes import server

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "1"
        if len(sys.argv) > 1:
            path = pathlib.Path(sys.argv[1])
        else:
            import glow_tf
            from glow_tf.export.saved_model import export_saved_model

            export_saved_model(glow_tf.load("pretrained"), path)
        shape = Model(path).signatures["serving_default"].inputs["images"].shape[1:]
        images = np.random.default_rng(0).integers(0, 256, [64, *shape])
        for name in ("serving_default", "reconstruct"):
            bodies = [json.dumps({"signature_name": name, "instances": [image.tolist()]}).encode() for image in images]
            for batch, clients in itertools.product((1, 32), (1, 16, 64)):
                with server(path, f"--max_batch_size={batch}") as (_, port, _):
                    send(port, bodies, 16)
                    found = figures(*send(port, bodies * (2 if clients == 1 else 12), clients))
                print(f"{name:16} max_batch_size {batch:2}   {clients:2} clients   {found}", flush=True)


if __name__ == "__main__":
    main()
