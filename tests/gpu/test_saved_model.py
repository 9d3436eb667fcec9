"""SavedModels that were exported with and without a GPU, on a GPU with TF32 and on a CPU, in plain TensorFlow."""

import textwrap

import numpy as np
import pytest

import glow_tf
from glow_tf.export import export_saved_model
from tests.gpu import sizes
from tests.gpu.programs import begin, end
from tests.models.flows import random_images, randomise
from tests.runtime import test_tf32

EXPORT = "import glow_tf, glow_tf.export as e; e.export_saved_model(glow_tf.load('model'), 'without a GPU')"
SERVE = """
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("glow_tf", "tensorflow_probability"):
                raise ImportError(name)

    sys.meta_path.insert(0, Blocker())
    import numpy as np
    import tensorflow as tf

    images = tf.constant(np.load("images.npy"))
    outputs = {
        "device": images.device,
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
    }
    for name in ("here", "without a GPU"):
        model = tf.saved_model.load(name)
        outputs[f"{name}/reconstruct"] = model.reconstruct(images)["images"]
        outputs[f"{name}/decode"] = model.decode(model.encode(images)["latents"])["images"]
        outputs[f"{name}/bits_per_dim"] = model.log_prob(images, seed=7)["bits_per_dim"]
    np.savez(sys.argv[1], **outputs)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A flow, images, and what a process on each device computes by SavedModels of it, exported here and elsewhere."""
    directory = tmp_path_factory.mktemp("served")
    # Without precautions, one pixel in ten or more would change: see tests/runtime/test_tf32.py.
    flow = randomise(glow_tf.Flow(test_tf32.CONFIGS["glow"]), scale=0.02)
    images = random_images(flow.config, 8).numpy()
    np.save(directory / "images.npy", images)
    glow_tf.save(flow, directory / "model")
    elsewhere = begin(["-c", EXPORT], directory, CUDA_VISIBLE_DEVICES="")
    export_saved_model(flow, directory / "here")
    end(elsewhere)
    # Otherwise TensorFlow would take all remaining memory and leave none to other tests.
    environments = {"GPU": {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}, "CPU": {"CUDA_VISIBLE_DEVICES": ""}}
    serve = ["-c", textwrap.dedent(SERVE)]
    running = [begin([*serve, f"{kind}.npz"], directory, **variables) for kind, variables in environments.items()]
    for process in running:
        end(process)
    found = {}
    for kind in environments:
        with np.load(directory / f"{kind}.npz") as outputs:
            found[kind] = dict(outputs)
    return flow, images, found


def test_it_ran_on_the_gpu_with_tf32_and_on_the_cpu(served):
    _, _, outputs = served
    assert str(outputs["GPU"]["device"]).endswith(sizes.DEVICE)
    assert outputs["GPU"]["tf32"]
    assert str(outputs["CPU"]["device"]).endswith("CPU:0")


every_export = pytest.mark.parametrize("exported", ["here", "without a GPU"])
every_device = pytest.mark.parametrize("kind", ["GPU", "CPU"])


@every_export
@every_device
def test_images_come_back(served, exported, kind):
    _, images, outputs = served
    np.testing.assert_array_equal(outputs[kind][f"{exported}/reconstruct"], images)
    np.testing.assert_array_equal(outputs[kind][f"{exported}/decode"], images)


@every_export
@every_device
def test_the_likelihood_is_that_of_the_flow(served, exported, kind):
    flow, images, outputs = served
    expected = flow.bits_per_dim(images, seed=7)
    np.testing.assert_allclose(outputs[kind][f"{exported}/bits_per_dim"], expected, rtol=1e-5)
