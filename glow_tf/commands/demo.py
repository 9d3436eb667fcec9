"""Opens a web page to sample, reconstruct, interpolate and change attributes.

  glow demo
  glow demo --model_dir=runs/photos --images=anna.png,bert.png
  glow demo --model_dir=models/glow/1 --images=photos --port=0 --nobrowser

--model_dir is a model directory, or a SavedModel written by glow export, which may have attributes; by default the
pretrained model, with the attributes of the bundled portraits. --images lists picture files and folders to choose from;
by default held-out portraits if the model has the portraits' attributes, else samples. --port=0 finds a free port. The
page works without a network and sends no telemetry. It accepts only the host names of the address it listens on, and
those of --allowed_hosts. Requires Gradio: pip install 'glow_tf[demo]'.
"""

import contextlib
import importlib.util
import os
import pathlib
import tempfile

from absl import flags

from glow_tf.analysis.attributes import attribute_directions
from glow_tf.analysis.codec import Codec
from glow_tf.commands import command, common_flags, model_flags
from glow_tf.data import attributed_batches, load_attributes, load_source
from glow_tf.models import storage
from glow_tf.runtime import ending

FLAGS = flags.FLAGS

common_flags.define("model_dir", "max_megapixels", images="Picture files, and folders of them, to choose from.")
flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines see the page.")
flags.DEFINE_integer("port", 7860, "Port to listen at; 0 finds a free one.", 0, 65535)
flags.DEFINE_list("allowed_hosts", [], "Further names of the page, such as that of a proxy.")
flags.DEFINE_bool("browser", True, "Open the page in the browser.")


def main() -> None:
    """Serves the page until it is interrupted."""
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("The page needs Gradio: pip install 'glow_tf[demo]'.")
    # A plain `kill` ends the page as Ctrl-C does, so that no temporary files are left.
    ending.interrupt_on_sigterm()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glow_tf_demo_")))
        # Gradio reads both on import; uploads are deleted with the folder at the end.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(folder / "uploads"))
        from glow_tf.demo import examples, look, page, server
        from glow_tf.demo.model import DemoModel
        from glow_tf.serving.hosts import Hosts
        from glow_tf.serving.sockets import bind

        listening = stack.enter_context(bind(FLAGS.host, FLAGS.port))
        listening.listen()
        hosts = Hosts(FLAGS.host, FLAGS.allowed_hosts, listening.getsockname()[0])
        if FLAGS.model_dir in storage.PRETRAINED:
            print("Getting the pretrained model ready ...", flush=True)
            _export_pretrained(FLAGS.model_dir, folder / "model")
            model = DemoModel(folder / "model")
        else:
            model = DemoModel(model_flags.saved_model(folder / "model"))
        pictures = examples.load_examples(FLAGS.images, model) if FLAGS.images else examples.default_examples(model)
        app = server.guarded(page.build(model, pictures), look.gradio_arguments(), hosts, folder / "uploads")
        server.serve(app, listening, FLAGS.host, browser=FLAGS.browser)


def _export_pretrained(name: str, path: pathlib.Path) -> None:
    flow = storage.load(name)
    height, width, channels = flow.config.image_shape
    source = load_source("people", image_size=(height, width), channels=channels)
    attributes = load_attributes(source, "train")
    codec = Codec(flow)
    batches = attributed_batches(source, "train", codec.batch_size, attributes)
    directions = attribute_directions(codec, batches, attributes.names)
    model_flags.export_for_this_process(flow, path, directions)


if __name__ == "__main__":
    command.run(main)
