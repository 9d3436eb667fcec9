r"""Serves a SavedModel over HTTP, as TensorFlow Serving does, for those who do not have it.

  python -m tools.export --model_dir=runs/celeb_a_glow --output=models/glow/1
  python -m tools.serve --saved_model=models/glow

It answers TensorFlow Serving's REST API, https://www.tensorflow.org/tfx/serving/api_rest, so that clients of the one
are clients of the other:

  GET  /v1/models/glow             whether it is there
  GET  /v1/models/glow/metadata    its signatures, with their inputs and outputs
  POST /v1/models/glow:predict     runs one; .../glow/versions/1:predict likewise

  curl -H 'Content-Type: application/json' -d '{"signature_name": "sample", "inputs": {"num": 2, "seed": 1}}' \
    localhost:8501/v1/models/glow:predict

A signature whose inputs all have rows can also be asked row by row, {"instances": [...]}. Files are base64, {"b64":
"..."}. Inputs left out have their defaults. An error is {"error": "..."}. Requests may be compressed, by
Content-Encoding: gzip. Those that come while others run are run in batches. What limits requests and connections is
there to keep the server alive.

The server has neither passwords nor encryption: it listens on this machine alone, unless --host says otherwise. It
answers to the names of the address it listens at: behind a proxy, --allowed_hosts gives the name it has there. Web
pages may not ask it, but for those that --cors_origin names. Ctrl-C and SIGTERM let requests under way finish. It needs
pip install 'glow_tf[serve]'.
"""

from absl import flags

from glow_tf.shared_flags import define_path
from tools import command

FLAGS = flags.FLAGS

define_path(
    "saved_model",
    None,
    "SavedModel to serve, such as models/glow/1, or a folder of numbered ones, for its newest.",
    for_tensorflow=True,
)
flags.DEFINE_string("name", "glow", "What requests call the model.")
flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets everyone in who can reach this machine.")
flags.DEFINE_integer("port", 8501, "Port to listen at; 0: one that is free.", 0, 65535)
flags.DEFINE_list("allowed_hosts", [], "More names that the server goes by, such as the one that a proxy gives it.")
flags.DEFINE_list(
    "cors_origin", [], "Origins of web pages that may ask, such as https://example.org; *: all pages of the world."
)
flags.DEFINE_integer("max_batch_size", 32, "Most rows that are run at once; 1: no batching.", 1, 4096)
flags.DEFINE_float(
    "batch_wait_ms",
    0.0,
    "Milliseconds for which an idle server waits for a batch to fill; helps on a GPU.",
    0.0,
    10000.0,
)
flags.DEFINE_float("max_request_mb", 32.0, "Largest request, in 10^6 bytes.", 0.001, 4096.0)
flags.DEFINE_integer(
    "max_images",
    None,
    "Most images of a request: its rows, and what num or steps make of them; by default 1024, fewer of large images.",
    1,
)
flags.DEFINE_integer("max_connections", 1024, "Most connections at the same time.", 1)
flags.DEFINE_float(
    "header_timeout_s", 10.0, "Seconds that a connection may take until it has sent a request's head.", 0.001
)
flags.DEFINE_integer("max_pending", 128, "Most requests at the same time; more are told to come again.", 1, 4096)
flags.DEFINE_float("timeout_s", 60.0, "Seconds that a request may take.", 0.001)


def main() -> None:
    """Loads the SavedModel, prints where it is served, and serves it."""
    try:
        from glow_tf.serving import app, server, sockets
        from glow_tf.serving.connections import Connections
        from glow_tf.serving.hosts import Hosts
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise ValueError(f"{error.name} is not installed; pip install 'glow_tf[serve]' does it.") from error
    from glow_tf.serving.batching import Runner
    from glow_tf.serving.model import Model

    if not FLAGS.saved_model:
        raise ValueError("--saved_model must name a SavedModel; python -m tools.export writes one.")
    bound = sockets.bind(FLAGS.host, FLAGS.port)
    model = Model(FLAGS.saved_model, FLAGS.name)
    most = FLAGS.max_images or app.most_images(model)
    limits = app.Limits(FLAGS.max_request_mb, most, FLAGS.max_pending, FLAGS.timeout_s)
    runner = Runner(model, FLAGS.max_batch_size, FLAGS.batch_wait_ms)
    hosts = Hosts(FLAGS.host, FLAGS.allowed_hosts)
    application = app.create_app(model, runner, limits, hosts, FLAGS.cors_origin)
    connections = Connections(FLAGS.max_connections, FLAGS.header_timeout_s, FLAGS.timeout_s)
    url = f"{sockets.url(bound, FLAGS.host)}/v1/models/{model.name}"

    def ready() -> None:
        example = f"curl {url}/metadata"
        if "sample" in model.signatures:
            data = '{"signature_name": "sample", "inputs": {"num": 1}}'
            example = f"curl -H 'Content-Type: application/json' -d '{data}' {url}:predict"
        signatures = ", ".join(model.signatures)
        print(f"serving {url} version {model.version}, signatures {signatures}; try: {example}", flush=True)

    server.serve(application, bound, ready, FLAGS.timeout_s, connections)


if __name__ == "__main__":
    command.run(main)
