"""SavedModels in plain TensorFlow, in a process with neither glow_tf nor TFP, give the same results as the flow."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.export.saved_model import export_saved_model
from tests import saved_models
from tests.marks import mostly_slow
from tests.models.flows import moved_flow
from tests.saved_models import CONFIGS, examples, saved

NAMES = ("glow", "conditional", "real_nvp", "nice", "sound")
SERVE = """
    import json
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("glow_tf", "tensorflow_probability"):
                raise ImportError(name)

    sys.meta_path.insert(0, Blocker())
    import numpy as np
    import tensorflow as tf

    # Each signature runs once or twice: to make its graph faster would take longer.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    inputs, outputs = dict(np.load("inputs.npz")), {}
    for name, path in json.loads(sys.argv[1]).items():
        signatures = tf.saved_model.load(path).signatures
        labels = lambda n: {"labels": tf.constant(np.arange(n) % 3, tf.int32)} if name == "conditional" else {}
        for n in (1, 3):
            images, latents = inputs[name + "/images"][:n], inputs[name + "/latents"][:n]
            outputs |= {
                f"{name}/log_prob/{n}/{key}": value
                for key, value in signatures["log_prob"](
                    images=tf.constant(images), seed=tf.constant(7), **labels(n)
                ).items()
            }
            outputs[f"{name}/encode/{n}"] = signatures["encode"](images=tf.constant(images), **labels(n))["latents"]
            outputs[f"{name}/decode/{n}"] = signatures["decode"](latents=tf.constant(latents), **labels(n))["images"]
            outputs[f"{name}/sample/{n}"] = signatures["sample"](
                num=tf.constant(n), temperature=tf.constant(0.5), seed=tf.constant(7), **labels(n)
            )["images"]
            outputs[f"{name}/reconstruct/{n}"] = signatures["reconstruct"](images=tf.constant(images), **labels(n))[
                "images"
            ]
            outputs |= {
                f"{name}/features/{n}/{key}": value
                for key, value in signatures["features"](images=tf.constant(images), **labels(n)).items()
            }
            ends = {"start": tf.constant(images), "end": tf.constant(images[::-1].copy()), "steps": tf.constant(2)}
            if name == "conditional":
                ends["end_labels"] = labels(n)["labels"][::-1]
            outputs[f"{name}/interpolate/{n}"] = signatures["interpolate"](**ends, **labels(n))["images"]
            outputs[f"{name}/manipulate/{n}"] = signatures["manipulate"](
                images=tf.constant(images),
                direction=tf.constant(latents[:1]),
                scale=tf.fill([n], 0.5),
                **labels(n),
            )["images"]
    assert not {"glow_tf", "tensorflow_probability"} & {name.split(".")[0] for name in sys.modules}
    np.savez("outputs.npz", **outputs)
"""


@pytest.fixture(scope="module", params=mostly_slow(NAMES, ["conditional"]))
def served(request, tmp_path_factory):
    """The name of a flow, inputs, and the outputs that a process with plain TensorFlow returns for them."""
    name = request.param
    directory, config = tmp_path_factory.mktemp("served"), CONFIGS[name]
    rng = np.random.default_rng(1)
    inputs = {
        f"{name}/images": examples(config, 3),
        f"{name}/latents": rng.normal(size=[3, config.dimensions]).astype(np.float32),
    }
    np.savez(directory / "inputs.npz", **inputs)
    paths = {name: str(saved(name))}
    command = [sys.executable, "-c", textwrap.dedent(SERVE), json.dumps(paths)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(directory / "outputs.npz") as outputs:
        return name, inputs, dict(outputs)


@pytest.mark.parametrize("n", [1, 3])
def test_plain_tensorflow_finds_what_the_flow_finds(served, n):
    name, inputs, outputs = served
    flow = saved_models.flow(name)
    labels = np.arange(n) % 3 if flow.config.conditional else None
    images, latents = inputs[f"{name}/images"][:n], inputs[f"{name}/latents"][:n]
    bits = flow.bits_per_dim(images, labels, seed=7)
    np.testing.assert_allclose(outputs[f"{name}/log_prob/{n}/bits_per_dim"], bits, rtol=1e-5)
    nats = -bits.numpy() * flow.config.dimensions * np.log(2)
    np.testing.assert_allclose(outputs[f"{name}/log_prob/{n}/log_prob"], nats, rtol=1e-5)
    np.testing.assert_allclose(outputs[f"{name}/encode/{n}"], flow.encode(images, labels), atol=1e-4)
    for level, expected in enumerate(flow.features(images, labels), 1):
        np.testing.assert_allclose(outputs[f"{name}/features/{n}/level_{level}"], expected, atol=1e-4)
    z = flow.encode(images, labels).numpy()
    middle = flow.decode((z + z[::-1]) / 2, labels)
    path = np.stack([flow.decode(z, labels), middle, flow.decode(z[::-1], None if labels is None else labels[::-1])], 1)
    for output, expected in [
        (outputs[f"{name}/decode/{n}"], flow.decode(latents, labels)),
        (outputs[f"{name}/sample/{n}"], flow.sample(n, 0.5, labels, seed=7)),
        (outputs[f"{name}/interpolate/{n}"], tf.constant(path)),
        (outputs[f"{name}/manipulate/{n}"], flow.decode(z + 0.5 * latents[:1], labels)),
    ]:
        assert output.dtype == images.dtype
        assert output.shape == expected.shape
        if flow.config.n_bits is None:
            np.testing.assert_allclose(output, expected, atol=1e-5)
            continue
        # Another order of additions may move a value across the edge of a bin.
        difference = np.abs(output.astype(int) - expected.numpy())
        assert difference.max() <= 2 ** (8 - flow.config.n_bits)
        assert np.mean(difference > 0) < 0.01


def test_images_come_back(served):
    name, inputs, outputs = served
    flow = saved_models.flow(name)
    labels = np.arange(3) % 3 if flow.config.conditional else None
    images = flow.decode(outputs[f"{name}/encode/3"], labels)
    if flow.config.n_bits is None:
        expected, tolerance = inputs[f"{name}/images"], 1e-5
    else:
        step = 2 ** (8 - flow.config.n_bits)
        expected, tolerance = inputs[f"{name}/images"] // step * step, 0
    np.testing.assert_allclose(images, expected, atol=tolerance, rtol=0)
    np.testing.assert_allclose(outputs[f"{name}/reconstruct/3"], expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("device", mostly_slow([None, "CPU"], ["CPU"]))
def test_without_gradients(tmp_path, caplog, device):
    export_saved_model(saved_models.flow("grey"), tmp_path / "1", device=device, differentiable=False)
    whole, part = saved("grey") / "saved_model.pb", tmp_path / "1" / "saved_model.pb"
    assert part.stat().st_size < 0.8 * whole.stat().st_size
    loaded, images = tf.saved_model.load(str(tmp_path / "1")), examples(CONFIGS["grey"], 3)
    # TensorFlow warns of gradients that are missing.
    assert "gradient" not in caplog.text
    bits = saved_models.flow("grey").bits_per_dim(images, seed=7)
    np.testing.assert_allclose(loaded.log_prob(images, seed=7)["bits_per_dim"], bits, rtol=1e-5)
    np.testing.assert_array_equal(loaded.reconstruct(images)["images"], images)


def test_a_kind_of_device_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="device='TPU' must be one of CPU, GPU, or None"):
        export_saved_model(saved_models.flow("flat"), tmp_path / "1", device="TPU")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_exporting_again_replaces_the_model(tmp_path):
    shutil.copytree(saved("flat"), tmp_path / "model")
    images = tf.constant(np.random.default_rng(0).integers(0, 256, [2, 12], np.uint8))
    other = moved_flow(CONFIGS["flat"], seed=1)
    export_saved_model(other, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model")).signatures
    np.testing.assert_allclose(loaded["encode"](images=images)["latents"], other.encode(images), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_only_a_saved_model_is_replaced(tmp_path):
    (tmp_path / "models" / "1").mkdir(parents=True)
    (tmp_path / "models" / "1" / "saved_model.pb").write_bytes(b"a model")
    (tmp_path / "notes").write_text("of mine")
    for name in ("models", "notes"):
        with pytest.raises(ValueError, match=rf"path=.*{name} is there and is not a SavedModel; it will not be over"):
            export_saved_model(saved_models.flow("flat"), tmp_path / name)
    assert (tmp_path / "models" / "1" / "saved_model.pb").read_bytes() == b"a model"
    assert (tmp_path / "notes").read_text() == "of mine"


def test_a_full_disk_leaves_the_model_that_is_there(tmp_path, monkeypatch):
    shutil.copytree(saved("flat"), tmp_path / "model")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def save(served, path, **options):
        os.makedirs(path)
        pathlib.Path(path, "saved_model.pb").write_bytes(b"half a mod")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(OSError, match="No space left on device"):
        export_saved_model(saved_models.flow("flat"), tmp_path / "model")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_flow_without_trained_variables(tmp_path):
    dequantizer = glow_tf.dequantization.Continuous()
    config = glow_tf.ModelConfig(
        name="fixed", image_shape=(2, 2, 1), layers=(glow_tf.layers.Squeeze(),), dequantizer=dequantizer
    )
    export_saved_model(glow_tf.Flow(config), tmp_path / "1")
    loaded, x = tf.saved_model.load(str(tmp_path / "1")), tf.constant([[[[0.5], [-1.0]], [[2.0], [0.0]]]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prob = loaded.log_prob(x)["log_prob"]
    assert log_prob.numpy() == pytest.approx(-0.5 * 5.25 - 2 * np.log(2 * np.pi))
    np.testing.assert_allclose(tape.gradient(log_prob, x), -x, atol=1e-6)


@pytest.mark.slow
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to("disk/1")
    config = glow_tf.nice((2,), K=1, width=1, blocks=1)
    for seed in range(2):
        flow = moved_flow(config, seed=seed)
        export_saved_model(flow, tmp_path / "model")
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["1"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "model"]
        assert (tmp_path / "model").is_symlink()
    x = np.array([[3, 200]], np.uint8)
    np.testing.assert_allclose(glow_tf.load(tmp_path / "model").encode(x), flow.encode(x), atol=1e-6)


@pytest.mark.slow
def test_the_graph_does_not_grow_with_the_depth(tmp_path):
    sizes = []
    for depth in (2, 24):
        export_saved_model(glow_tf.Flow(glow_tf.glow((8, 8, 3), K=depth, L=2, width=4)), tmp_path / str(depth))
        sizes.append((tmp_path / str(depth) / "saved_model.pb").stat().st_size)
    assert sizes[1] < 1.01 * sizes[0]
