r"""Serves a model over HTTP without TensorFlow Serving.

  glow serve --model_dir=runs/celeb_a_glow
  glow export --model_dir=runs/celeb_a_glow --output=models/glow/1
  glow serve --model_dir=models/glow

--model_dir is a model directory, which is exported to a temporary folder first, a SavedModel, or a folder of numbered
SavedModels, of which the one with the highest number is served.

It implements TensorFlow Serving's REST API, https://www.tensorflow.org/tfx/serving/api_rest, for the same clients:

  GET  /v1/models/glow             status
  GET  /v1/models/glow/metadata    signatures with their inputs and outputs
  POST /v1/models/glow:predict     runs a signature; also .../glow/versions/1:predict

  curl -H 'Content-Type: application/json' -d '{"signature_name": "sample", "inputs": {"num": 2, "seed": 1}}' \
    localhost:8501/v1/models/glow:predict

A signature whose inputs all have rows also accepts requests in the row format, {"instances": [...]}. Omitted inputs
take their defaults. An error is {"error": "..."}. Requests may be compressed with Content-Encoding: gzip. Concurrent
requests run in batches. Limits on requests and connections protect the server from overload.

Photographs, as PNG or JPEG files of any size, are sent in base64, {"b64": "..."}, to signatures with _bytes in their
names. They are turned upright, resized and cropped to the centre as in training; signatures that end in _bytes_exact
refuse files whose size differs from the model's. To get the bits/dim of a photograph:

  (printf '{"signature_name": "log_prob_bytes", "inputs": {"image_bytes": [{"b64": "';
    base64 < holiday.jpg | tr -d '\n'; printf '"}]}}') |
    curl -H 'Content-Type: application/json' -d @- localhost:8501/v1/models/glow:predict

Pictures in replies, such as those of reconstruct_bytes, are PNG files in base64.

The server has neither passwords nor encryption, and by default listens only on this machine; see --host. It accepts
only the host names of the address it listens on; behind a proxy, set --allowed_hosts to the server's name there.
Requests from web pages of other origins are refused, except those of --cors_origin. Ctrl-C and SIGTERM let running
requests finish. Requires pip install 'glow_tf[serve]'.
"""

import dataclasses

from absl import flags

from glow_tf.commands import command, common_flags, model_flags
from glow_tf.runtime import ending

FLAGS = flags.FLAGS

common_flags.define("model_dir", "max_megapixels")
flags.DEFINE_string("name", "glow", "Name of the model in requests.")
flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0 admits everyone who can reach this machine.")
flags.DEFINE_integer("port", 8501, "Port to listen at; 0 finds a free one.", 0, 65535)
flags.DEFINE_list("allowed_hosts", [], "Further names of the server, such as that of a proxy.")
flags.DEFINE_list(
    "cors_origin", [], "Origins of web pages that may send requests, such as https://example.org; *: all."
)
flags.DEFINE_integer(
    "max_batch_size",
    32,
    "Largest number of rows in a batch; 1: no batching. With --max_images, at least as many images are computed at the "
    "same time.",
    1,
    4096,
)
flags.DEFINE_float(
    "batch_wait_ms",
    0.0,
    "Milliseconds that an idle server waits for a batch to fill; useful on a GPU.",
    0.0,
    10000.0,
)
flags.DEFINE_float("max_request_mb", 32.0, "Largest request, in 10^6 bytes.", 0.001, 4096.0)
flags.DEFINE_integer(
    "max_images",
    None,
    "Largest number of images in a request or its reply; by default 1024, fewer if they or the networks are large.",
    1,
)
flags.DEFINE_integer("max_connections", 1024, "Largest number of connections.", 1)
flags.DEFINE_float(
    "header_timeout_s",
    10.0,
    "Seconds that a connection may take to send the headers of its first or next request; behind a proxy with "
    "keep-alive, more than the proxy's idle timeout.",
    0.001,
    86400.0,
)
flags.DEFINE_integer(
    "max_pending", 128, "Largest number of concurrent requests; further ones are told to retry.", 1, 4096
)
flags.DEFINE_float(
    "timeout_s",
    60.0,
    "Seconds that a request may take. Bodies above 64 KiB must grow by that much every 10 s.",
    0.001,
    86400.0,
)


def main() -> None:
    """Loads the SavedModel, prints its URL, and serves it."""
    try:
        from glow_tf.serving import app, server, sockets
        from glow_tf.serving.connections import Connections
        from glow_tf.serving.hosts import Hosts, checked_origin
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise ValueError(f"{error.name} is not installed; pip install 'glow_tf[serve]' does it.") from error
    from glow_tf.serving.batching import Runner
    from glow_tf.serving.model import Model

    if not FLAGS["model_dir"].present:
        raise ValueError(
            "--model_dir or --saved_model must name a SavedModel or a model directory, or a bundled model."
        )
    origins = [checked_origin(origin) for origin in FLAGS.cors_origin]
    limits = app.Limits(
        max_request_mb=FLAGS.max_request_mb,
        max_pending=FLAGS.max_pending,
        timeout_s=FLAGS.timeout_s,
        max_megapixels=FLAGS.max_megapixels,
    )
    connections = Connections(
        most=FLAGS.max_connections, header_timeout_s=FLAGS.header_timeout_s, stall_timeout_s=FLAGS.timeout_s
    )
    bound = sockets.bind(FLAGS.host, FLAGS.port)
    hosts = Hosts(FLAGS.host, FLAGS.allowed_hosts, bound.getsockname()[0])
    ending.interrupt_on_sigterm()
    with model_flags.temporary_saved_model("glow_tf_serve_") as path:
        model = Model(path, FLAGS.name)
    limits = dataclasses.replace(limits, max_images=FLAGS.max_images or app.most_images(model))
    runner = Runner(
        model,
        max_batch_size=FLAGS.max_batch_size,
        batch_wait_ms=FLAGS.batch_wait_ms,
        most_images=app.images_at_once(model, FLAGS.max_images, FLAGS.max_batch_size),
    )
    application = app.create_app(model, runner, limits=limits, hosts=hosts, cors_origins=origins)
    url = f"{sockets.url(bound, FLAGS.host)}/v1/models/{model.name}"

    def ready() -> None:
        example = f"curl {url}/metadata"
        if "sample" in model.signatures:
            data = '{"signature_name": "sample", "inputs": {"num": 1}}'
            example = f"curl -H 'Content-Type: application/json' -d '{data}' {url}:predict"
        print(f"serving {url} version {model.version} (Ctrl-C ends it); try: {example}", flush=True)

    server.serve(application, bound, ready, FLAGS.timeout_s, connections)


if __name__ == "__main__":
    command.run(main)
