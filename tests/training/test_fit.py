"""Training from Python: its inputs, the resulting flow and figures, and continuation."""

import json
import signal

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.data import DataError
from glow_tf.training import loop, model_directory
from glow_tf.training.config import TrainingConfig
from glow_tf.training.fit import training_source
from tests.training import helpers
from tests.training.runs import Signalling, lines

pytestmark = pytest.mark.usefixtures("untraced", "short_timing")

IMAGES = helpers.random_images(30, helpers.TINY)
# As short as possible.
SHORT = {"steps": 2, "batch_size": 4, "init_images": 8, "samples": 1, "quiet": True}


def fit(flow=None, images=IMAGES, labels=None, **arguments):
    flow = glow_tf.Flow(helpers.TINY, seed=3) if flow is None else flow
    return glow_tf.fit(flow, images, labels, **{**SHORT, **arguments})


def weights(flow):
    return {path: variable.numpy() for path, variable in flow.named_variables().items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for path, value in a.items():
        np.testing.assert_array_equal(value, b[path], err_msg=path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run of four steps in a directory."""
    directory = tmp_path_factory.mktemp("fit") / "run"
    flow = glow_tf.Flow(helpers.TINY, seed=3)
    return directory, fit(flow, steps=4, eval_every=2, learning_rate=1e-2, model_dir=directory)


def test_the_flow_has_the_averages_and_the_result_its_figure(kept):
    directory, result = kept
    assert_equal(weights(result.flow), weights(glow_tf.load(directory)))
    # The last tenth is held out.
    expected = result.flow.bits_per_dim(IMAGES[-3:]).numpy()
    assert result.evaluation.images == 3
    assert result.bits_per_dim == pytest.approx(expected.mean(), rel=1e-6)
    assert result.steps == 4 and result.model_dir == directory and not result.stopped_early
    assert repr(result).startswith(f"<Fit {result.bits_per_dim:.3f} +- ")


def test_the_history_has_every_evaluation(kept):
    directory, result = kept
    test = result.history["test"]
    assert test["step"].tolist() == [2, 4]
    assert test["bits_per_dim"].tolist() == [line["bits_per_dim"] for line in lines(directory, "test")]
    assert test["bits_per_dim"][-1] == result.bits_per_dim
    assert result.history["train"]["step"].tolist() == [4]
    assert result.best_bits_per_dim == test["bits_per_dim"].min()


def test_it_is_what_the_program_trains(tmp_path, kept):
    """The same run by the Trainer, on the same images in a file."""
    directory, result = kept
    np.save(tmp_path / "images.npy", IMAGES)
    source = glow_tf.data.load_source("arrays", data_dir=str(tmp_path / "images.npy"))
    assert json.loads((directory / "training.json").read_text())["identity"] == source.identity()
    training = TrainingConfig(**model_directory.settings(directory))
    assert (training.steps, training.learning_rate, training.warmup_steps) == (4, 1e-2, 0)
    begin_with, strategy = glow_tf.Flow(helpers.TINY, seed=3), tf.distribute.MirroredStrategy(["CPU:0"])
    trainer = loop.Trainer(
        helpers.TINY, training, source, tmp_path / "run", strategy, begin_with=begin_with, quiet=True
    )
    assert trainer.run() == result.evaluation


def test_with_a_directory_it_goes_on_with_the_settings_there(tmp_path, kept):
    _, expected = kept
    # Numbers may be NumPy's.
    numbers = {"steps": np.int64(2), "eval_every": np.int32(2), "checkpoint_minutes": np.float32(5), "flip": np.False_}
    first = fit(**numbers, learning_rate=1e-2, warmup_steps=0, model_dir=tmp_path)
    # The given flow no longer matters.
    again = glow_tf.fit(glow_tf.Flow(helpers.TINY), IMAGES, steps=4, model_dir=str(tmp_path), quiet=True)
    assert again.steps == 4 and first.steps == 2
    assert_equal(weights(again.flow), weights(expected.flow))
    assert again.history["test"]["bits_per_dim"].tolist() == expected.history["test"]["bits_per_dim"].tolist()
    with pytest.raises(ValueError, match="other data"):
        fit(images=IMAGES[::-1], model_dir=tmp_path)
    with pytest.raises(ValueError, match="init_from=pretrained is for a new run; .* its own weights"):
        fit(model_dir=tmp_path, init_from="pretrained")
    with pytest.raises(ValueError, match=r"model_dir=pretrained is the name of a model .* or \./pretrained\."):
        fit(model_dir="pretrained")
    with pytest.raises(ValueError, match="holds a training run, which is not overwritten"):
        glow_tf.save(again.flow, tmp_path)


@pytest.mark.parametrize("initialized", [True, False])
def test_without_one_it_begins_with_the_weights_of_the_flow(monkeypatch, initialized):
    """It also initialises them if necessary, and leaves nothing behind."""
    flow = glow_tf.Flow(helpers.TINY, seed=3)
    if initialized:
        flow.initialize(IMAGES[:4])
    before, begun = weights(flow), []

    class Watched(loop.Trainer):
        """Keeps the weights that training begins with."""

        def _loop(self, progress):
            begun.append((self._directory, weights(self.flow)))
            super()._loop(progress)

    monkeypatch.setattr("glow_tf.training.fit.Trainer", Watched)
    result = fit(flow, steps=1)
    ((directory, first),) = begun
    assert result.flow is flow and result.model_dir is None and not directory.exists()
    changed = {path for path, value in before.items() if (first[path] != value).any()}
    # NICE's initialisation sets only the last scaling.
    assert (len(changed) == 0) if initialized else (0 < len(changed) < len(before) / 2)
    assert any((before[path] != value).any() for path, value in weights(flow).items())


def test_a_flow_of_a_config_has_the_initial_weights_of_the_seed():
    result = fit(helpers.TINY, steps=1, learning_rate=1e-20, seed=5)
    expected = {path: v for path, v in weights(glow_tf.Flow(helpers.TINY, seed=5)).items() if v.any()}
    assert any(path.endswith("kernel") for path in expected)
    for path, value in expected.items():
        np.testing.assert_array_equal(weights(result.flow)[path], value, err_msg=path)


def test_the_best_weights_and_an_early_stop(tmp_path):
    """Two good steps, then some at a learning rate that ruins the weights."""
    arguments = {"eval_every": 1, "ema_decay": 0.0, "model_dir": tmp_path}
    before = fit(**arguments, steps=2)
    result = fit(**arguments, steps=9, learning_rate=5.0, early_stop=1, weights="best")
    assert (result.best_step, result.steps, result.stopped_early) == (before.best_step, 3, True)
    assert result.best_bits_per_dim < result.bits_per_dim
    found = result.flow.bits_per_dim(IMAGES[-3:]).numpy().mean()
    assert found == pytest.approx(result.best_bits_per_dim, rel=1e-6)
    assert "after 3 steps, stopped early" in repr(result)


@pytest.mark.parametrize("kind", ["dataset", "folder", "file", "tensor"])
def test_images_of_every_kind(tmp_path, kind):
    """They are the same as the images of the array; of a folder, others are held out."""
    np.save(tmp_path / "images.npy", IMAGES)
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(IMAGES):
        tf.io.write_file(str(tmp_path / "pictures" / f"{i:02d}.png"), tf.io.encode_png(image))
    images = {
        "dataset": tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(30))).batch(4),
        "folder": tmp_path / "pictures",
        "file": str(tmp_path / "images.npy"),
        "tensor": tf.constant(IMAGES),
    }[kind]
    found = training_source(helpers.TINY, images)
    assert (found.sizes, found.num_classes) == ({"train": 27, "test": 3}, 0)
    if kind != "folder":
        assert found.identity() == training_source(helpers.TINY, IMAGES).identity()


def held_out_images(**arguments):
    return next(training_source(helpers.TINY, **arguments).batches("test", 30).as_numpy_iterator())[0]


def test_what_is_held_out(tmp_path, source):
    for held_out, count in ((None, 3), (0.5, 15), (7, 7), (np.int64(7), 7)):
        np.testing.assert_array_equal(held_out_images(images=IMAGES, held_out=held_out), IMAGES[-count:])
    own = tf.data.Dataset.from_tensor_slices(IMAGES[-4:])
    for held_out in (IMAGES[-4:], own, (IMAGES[-4:], np.zeros(4))):
        np.testing.assert_array_equal(held_out_images(images=IMAGES[:-4], held_out=held_out), IMAGES[-4:])
    np.save(tmp_path / "images.npy", IMAGES)
    arguments = training_source(helpers.TINY, tmp_path / "images.npy", held_out=np.float32(0.5)).arguments
    assert json.loads(json.dumps(dict(arguments)))["test_fraction"] == 0.5
    assert training_source(helpers.CONFIG, source) is source
    with pytest.raises(DataError, match="has a test split of its own"):
        training_source(helpers.CONFIG, source, held_out=0.5)


def test_labels_keep_their_numbers():
    """Even if only some of the classes occur."""
    config = glow_tf.glow((4, 4, 3), K=1, L=1, width=2, n_bits=5, num_classes=5)
    labels = np.where(np.arange(30) % 2, 4, 1)
    result = fit(config, labels=labels, steps=1)
    assert result.flow.config == config and bool(result.flow.initialized)
    expected = result.flow.bits_per_dim(IMAGES[-3:], labels[-3:]).numpy().mean()
    assert result.bits_per_dim == pytest.approx(expected, rel=1e-6)
    with pytest.raises(DataError, match="go up to 5; those of the model are the numbers from 0 to 4"):
        fit(config, labels=labels + 1)
    with pytest.raises(DataError, match="and the images have none"):
        fit(config)


def test_ctrl_c_leaves_the_weights_so_far(monkeypatch, kept):
    monkeypatch.setattr(loop, "Progress", Signalling)
    monkeypatch.setattr(Signalling, "at", 4)
    monkeypatch.setattr(Signalling, "number", signal.SIGINT)
    flow = glow_tf.Flow(helpers.TINY, seed=3)
    with pytest.raises(KeyboardInterrupt, match="Stopped at step 4"):
        fit(flow, steps=9, steps_per_call=1, learning_rate=1e-2)
    monkeypatch.undo()
    directory, _ = kept
    assert_equal(weights(flow), weights(glow_tf.load(directory)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"steps": 50}, 5), ({"steps": 100_000}, 1000), ({"steps": None}, 1000), ({"steps": 50, "warmup_steps": 7}, 7)],
)
def test_the_warm_up_is_a_tenth_of_the_steps(monkeypatch, arguments, expected):
    class Built(Exception):
        """Ends a run before it begins; holds its settings."""

    def built(config, training, *_, **__):
        raise Built(training)

    monkeypatch.setattr("glow_tf.training.fit.Trainer", built)
    with pytest.raises(Built) as caught:
        fit(**arguments)
    assert caught.value.args[0].warmup_steps == expected


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": IMAGES / 255.0}, DataError, r"images are float64.*np.round\(images \* 255\)"),
        ({"images": IMAGES[0]}, DataError, "single image"),
        ({"images": IMAGES[:, :2]}, DataError, r"The images are of \(2, 4, 3\).*and the flow of \(4, 4, 3\)"),
        ({"images": np.zeros([9, 3, 8, 8], np.uint8)}, DataError, r"Channels first: transpose"),
        ({"images": [IMAGES[0], IMAGES[0, :2]]}, DataError, "bring all to one size"),
        ({"images": IMAGES[:1]}, DataError, "at least 2 are needed"),
        ({"images": "nowhere"}, DataError, "nowhere.*load_source"),
        ({"images": "nowhere", "labels": np.arange(30)}, DataError, "labels belong to an array"),
        ({"labels": np.arange(30)}, DataError, "uses no labels"),
        ({"held_out": 1.5}, DataError, "held_out=1.5"),
        ({"held_out": 0}, DataError, "held_out=0 "),
        ({"held_out": 30}, DataError, "between 1 and 29"),
        ({"held_out": IMAGES[:3, :2]}, DataError, r"test_images are of \(2, 4, 3\)"),
        ({"flow": "pretrained"}, TypeError, "flow must be a glow_tf.Flow"),
        ({"flow": glow_tf.glow_1d((16, 1), K=1, L=1, width=2)}, ValueError, "sequences"),
        ({"stepz": 3}, TypeError, "no setting 'stepz'; did you mean steps"),
        ({"steps": 0}, ValueError, "steps=0"),
        ({"batch_size": 2.5}, ValueError, "batch_size=2.5"),
        ({"label_loss_weight": 0.1}, ValueError, "classifier=True"),
        ({"weights": "ema"}, ValueError, "weights='ema'"),
        ({"model_dir": "a[b"}, ValueError, r"model_dir=a\[b"),
    ],
)
def test_mistakes_are_told_before_anything_is_built(monkeypatch, arguments, error, message):
    monkeypatch.setattr("glow_tf.training.fit.Trainer", None)
    with pytest.raises(error, match=message):
        fit(**arguments)
