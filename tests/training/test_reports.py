"""Output of reports: the best weights, health, pictures, and the pages of TensorBoard."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import glow_tf
from glow_tf.data import load_source, test_batches
from glow_tf.dequantization import Uniform
from glow_tf.models import storage
from glow_tf.training import model_directory
from glow_tf.training.batches import dequantized_for_evaluation
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.loss import losses
from glow_tf.training.pictures import Pictures
from glow_tf.training.reports import Reports, best_line
from tests.training import helpers

pytestmark = pytest.mark.usefixtures("untraced")

# 8-bit images are reconstructed exactly.
CONFIG = dataclasses.replace(helpers.CONFIG, dequantizer=Uniform())


class Reported:
    """Reports of a model whose weights and averages the tests set, without training; `unreadable` are test images."""

    def __init__(self, directory, data, config, *, write=True, unreadable=(), flags=None, **fields):
        parts = helpers.Parts(directory, config, samples=4, **fields)
        parts.flow.initialize(helpers.random_images(16, config))
        source = load_source("arrays", data_dir=str(data), test_size=11)
        read = source.readers["test"]
        readers = {**source.readers, "test": lambda index: None if index in unreadable else read(index)}
        self.source = dataclasses.replace(source, readers=readers)
        strategy = tf.distribute.OneDeviceStrategy("CPU:0")
        evaluator = Evaluator(parts.flow, strategy, batch_size=parts.training.batch_size)
        self.reports = Reports(
            parts.whole_state, evaluator, parts.training, self.source, directory, write=write, flags=flags
        )
        self.parts, self.directory, self.said = parts, directory, []
        # One update, before which there are no averages.
        weights = [v.numpy() for v in parts.variables]
        parts.optimizer.apply([tf.zeros_like(v) for v in parts.variables], parts.variables)
        for variable, average, weight in zip(parts.variables, parts.optimizer.averages, weights, strict=True):
            variable.assign(weight)
            average.assign(weight)
        self.weights = weights
        self.reports.begin(0)

    def evaluate(self, step, *, shift=0.0, limit=None):
        """Evaluates with averages that are off by `shift`, worse the larger it is, and weights that are far off."""
        self.parts.state.step.assign(step)
        paths = self.parts.flow.named_variables(trainable=True)
        for path, variable, average, weight in zip(
            paths, self.parts.variables, self.parts.optimizer.averages, self.weights, strict=True
        ):
            off = np.ones_like(weight) if path.endswith(("bias", "log_scale")) else np.zeros_like(weight)
            average.assign(weight + shift * off)
            variable.assign(weight + 5 * off)
        return self.reports.evaluate(self.said.append, limit)

    def lines(self, kind):
        parsed = [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]
        return [line for line in parsed if line["kind"] == kind]


def data_of(folder, config):
    path = folder / "images.npz"
    np.savez(path, images=helpers.random_images(51, config), labels=np.arange(51) % 3)
    return path


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A Glow of two levels, evaluated once, with a grid of samples."""
    directory = tmp_path_factory.mktemp("glow")
    reported = Reported(directory, data_of(directory, CONFIG), CONFIG)
    result = reported.evaluate(7)
    reported.reports.save_samples()
    reported.reports.write("train", {"loss": 3.0})
    reported.reports.flush()
    return reported, result


@pytest.fixture(scope="module")
def accumulator(reported):
    accumulator = event_accumulator.EventAccumulator(str(reported[0].directory / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_an_evaluation_is_of_the_averages_on_all_held_out_images(reported):
    reported, result = reported
    flow = glow_tf.Flow(CONFIG)
    for variable, weight in zip(flow.named_variables(trainable=True).values(), reported.weights, strict=True):
        variable.assign(weight)
    for path, variable in flow.named_variables().items():
        if not variable.trainable:
            variable.assign(reported.parts.flow.named_variables()[path])
    batches = dequantized_for_evaluation(test_batches(reported.source, 5), CONFIG)
    values = np.concatenate([losses(flow, b)["bits_per_dim"] for b in batches])
    assert result.images == len(values) == 11
    assert result.mean == pytest.approx(values.mean(), rel=1e-6)
    # The weights are as before.
    for path, variable, weight in zip(
        flow.named_variables(trainable=True), reported.parts.variables, reported.weights, strict=True
    ):
        np.testing.assert_array_equal(variable, weight + 5 if path.endswith("bias") else weight)


def test_the_line_of_an_evaluation(reported):
    reported, result = reported
    (line,) = reported.lines("test")
    levels = [f"{kind}/level_{level}" for kind in ("log_det", "prior") for level in (1, 2)]
    conditions = [f"condition/level_{level}" for level in (1, 2)]
    assert line.keys() == {
        *("step", "time", "kind", "bits_per_dim", "standard_error", "images", "round_trip/error", "dequantization"),
        *levels,
        *conditions,
    }
    assert (line["step"], line["images"], line["bits_per_dim"]) == (7, 11, result.mean)
    assert sum(line[name] for name in levels) + 8 == pytest.approx(result.mean, rel=1e-6)
    assert all(1 <= line[name] < 1.001 for name in conditions)
    # Half an 8-bit bin: below it, images are reconstructed exactly, and there is nothing to report.
    assert 0 < line["round_trip/error"] < 0.5 / 256
    assert reported.said == []


def test_tensorboard_finds_all_of_it(reported, accumulator):
    reported, result = reported
    names = set(accumulator.Tags()["tensors"])
    assert names >= {
        *("test/bits_per_dim", "test/standard_error", "test/images", "train/loss", "round_trip/error"),
        *(f"{kind}/level_{level}" for kind in ("log_det", "prior", "condition") for level in (1, 2)),
        *("samples", "reconstructions"),
    }
    (event,) = accumulator.Tensors("test/bits_per_dim")
    assert event.step == 7
    assert float(tf.make_ndarray(event.tensor_proto)) == pytest.approx(result.mean, rel=1e-6)


def test_tensorboard_has_the_hyperparameters(accumulator):
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["batch_size"].number_value == 8
    assert values["optimizer"].string_value == "adamax"
    assert values["network_precision"].string_value == "float32"
    assert (values["model"].string_value, values["n_bits"].number_value) == ("glow", 8)
    assert values["config.layers.1.network.width"].number_value == 4
    assert "arrays" in values["data"].string_value


def picture(file):
    return tf.io.decode_png(file.read_bytes()).numpy()


def test_reconstructions_stand_below_the_images(reported, accumulator):
    """Cells of 8 pixels with borders of 1, enlarged 8 times: row 1 from pixel 8 on, row 2 from 80 on."""
    reported, _ = reported
    image = picture(reported.directory / "reconstructions" / "step_0000007.png")
    assert image.shape == (8 * 19, 8 * 73, 3)
    np.testing.assert_array_equal(image[8:72], image[80:144])
    expected = np.stack([image for image, _ in reported.source.examples("test").take(8).as_numpy_iterator()])
    for i in range(8):
        left = 8 * (1 + 9 * i)
        np.testing.assert_array_equal(image[8:72:8, left : left + 64 : 8], expected[i])
    (event,) = accumulator.Tensors("reconstructions")
    np.testing.assert_array_equal(tf.io.decode_png(tf.make_ndarray(event.tensor_proto)[2]), image)


def test_samples_are_a_grid(reported):
    reported, _ = reported
    assert reported.reports.samples_path == reported.directory / "samples" / "step_0000007.png"
    assert picture(reported.reports.samples_path).shape == (8 * 19, 8 * 19, 3)


def test_samples_are_of_the_averages_and_of_the_temperature_and_seed_of_the_run(tmp_path):
    """At temperature 0 every sample is the picture of the latents' mean."""
    reported = Reported(tmp_path / "run", data_of(tmp_path, CONFIG), CONFIG, temperature=0.0)
    reported.evaluate(7)
    reported.reports.save_samples()
    flow = glow_tf.Flow(CONFIG)
    for path, variable in flow.named_variables().items():
        variable.assign(reported.parts.flow.named_variables()[path])
    for variable, weight in zip(flow.named_variables(trainable=True).values(), reported.weights, strict=True):
        variable.assign(weight)
    image = picture(reported.reports.samples_path)
    (expected,) = flow.sample(1, temperature=0.0).numpy()
    for top in (8, 80):
        for left in (8, 80):
            np.testing.assert_array_equal(image[top : top + 64 : 8, left : left + 64 : 8], expected)
    # With another temperature they differ from each other, and with another seed from those of the first.
    grids = []
    for seed in (0, 0, 1):
        pictures = Pictures(flow, helpers.training(samples=4, temperature=0.7, seed=seed), tmp_path)
        grids.append(pictures.save_samples(0)[1])
    np.testing.assert_array_equal(grids[0], grids[1])
    assert np.any(grids[0] != grids[2])


@pytest.fixture
def tiny(tmp_path):
    return Reported(tmp_path / "run", data_of(tmp_path, helpers.TINY), helpers.TINY)


def test_an_evaluation_of_some_images_goes_through_the_split(tiny):
    # Images of a folder are sorted by class, so that the first ones would be of one class.
    result = tiny.evaluate(10, limit=3)
    held_out = np.stack([image for image, _ in tiny.source.examples("test").as_numpy_iterator()])
    with tiny.parts.whole_state.with_averages():
        expected = tiny.parts.flow.bits_per_dim(held_out[[0, 5, 10]], seed=0).numpy()
    assert result.images == 3
    assert result.mean == pytest.approx(expected.mean(), rel=1e-6)


def best_weights(directory):
    return [v.numpy() for v in glow_tf.load(directory / "best").named_variables(trainable=True).values()]


def assert_best(reported, step, shift):
    """Asserts that `best/` holds the averages of the evaluation at `step`."""
    paths = reported.parts.flow.named_variables(trainable=True)
    for path, value, weight in zip(paths, best_weights(reported.directory), reported.weights, strict=True):
        off = np.float32(shift) if path.endswith(("bias", "log_scale")) else np.float32(0)
        np.testing.assert_array_equal(value, weight + off, err_msg=path)
    assert int(reported.parts.state.best_step) == step
    assert [file.name for file in (reported.directory / "best" / "checkpoints").glob("*.index")] == [
        f"ckpt-{step}.index"
    ]


def test_the_best_weights_are_kept(tiny):
    assert best_line(tiny.parts.state) == "no evaluation yet"
    first = tiny.evaluate(10, shift=0.5)
    assert_best(tiny, 10, 0.5)
    assert tiny.evaluate(20, shift=1.0).mean > first.mean
    assert_best(tiny, 10, 0.5)
    third = tiny.evaluate(30, shift=0.25)
    assert third.mean < first.mean
    assert_best(tiny, 30, 0.25)
    assert best_line(tiny.parts.state) == f"{third.mean:.3f} test bits/dim at step 30"
    # A mean over other images is not comparable.
    assert tiny.evaluate(40, shift=0.0, limit=3).mean < third.mean
    assert_best(tiny, 30, 0.25)
    assert storage.load_config(tiny.directory / "best") == helpers.TINY


def test_the_best_weights_have_the_record_of_the_run(tmp_path):
    flags = {"max_megapixels": 200.0}
    Reported(tmp_path / "run", data_of(tmp_path, helpers.TINY), helpers.TINY, flags=flags).evaluate(10)
    best = model_directory.load_run(tmp_path / "run" / "best")
    assert best.flags == flags and best.source["test_size"] == 11


def test_evaluations_without_a_better_one_are_counted_by_their_figures(tiny):
    """After a rollback, the step of the best evaluation is evaluated again, with other weights."""
    counts = []
    for step, shift in ((10, 0.5), (10, 0.5), (10, 1.0), (20, 0.75), (10, 0.25)):
        tiny.evaluate(step, shift=shift)
        counts.append(tiny.reports.without_better)
        tiny.parts.state.since_best.assign(counts[-1])
    assert counts == [0, 0, 1, 2, 0]


def test_a_rollback_opens_no_tensorboard_that_has_failed(tiny):
    tiny.evaluate(10)
    shutil.rmtree(tiny.directory / "tensorboard")
    (tiny.directory / "tensorboard").write_text("a file")
    tiny.evaluate(20)
    tiny.reports.begin(10, tiny.said.append)
    tiny.evaluate(20)
    assert [line["step"] for line in tiny.lines("test")] == [10, 20]


def test_with_another_number_of_images_the_first_periodic_evaluation_is_the_best(tmp_path):
    reported = Reported(tmp_path / "run", data_of(tmp_path, helpers.TINY), helpers.TINY, eval_images=3, eval_every=10)
    # As left by a run whose evaluations were of all images.
    everything = reported.evaluate(10, shift=0.0)
    assert_best(reported, 10, 0.0)
    first = reported.evaluate(20, shift=1.0, limit=3)
    assert_best(reported, 20, 1.0)
    assert first.images == 3 and reported.reports.without_better == 0
    worse = reported.evaluate(30, shift=2.0, limit=3)
    assert worse.mean > first.mean
    assert_best(reported, 20, 1.0)
    assert reported.reports.without_better == 1
    # That at the end is of all images, and not comparable.
    assert reported.evaluate(35, shift=0.0).mean == everything.mean
    assert_best(reported, 20, 1.0)


def test_an_image_that_can_no_longer_be_read_makes_no_worse_evaluation_the_best(tmp_path):
    unreadable = set()
    data = data_of(tmp_path, helpers.TINY)
    reported = Reported(tmp_path / "run", data, helpers.TINY, unreadable=unreadable, eval_images=0)
    state = reported.parts.state
    assert reported.evaluate(10, shift=0.5).images == 11
    unreadable.add(4)
    worse = reported.evaluate(20, shift=1.0)
    assert worse.images == 10
    assert_best(reported, 10, 0.5)
    assert reported.reports.without_better == 1 and int(state.best_images) == 11
    reported.evaluate(30, shift=0.25)
    assert_best(reported, 30, 0.25)
    # The number of images that were read is shown.
    assert int(state.best_images) == 10
    unreadable.clear()
    reported.evaluate(40, shift=1.0)
    assert_best(reported, 30, 0.25)
    # As in a checkpoint of an earlier version, which knows only that number.
    state.best_requested.assign(0)
    unreadable.add(7)
    reported.evaluate(50, shift=1.0)
    assert_best(reported, 30, 0.25)


@pytest.mark.usefixtures("traced")
def test_what_is_not_a_number_is_never_the_best(tiny):
    """In a graph, NaNs are reconstructed; eager execution would refuse them."""
    assert math.isnan(tiny.evaluate(10, shift=math.nan).mean)
    assert best_line(tiny.parts.state) == "no evaluation yet"
    assert not (tiny.directory / "best").exists()
    (line,) = tiny.lines("test")
    assert line["bits_per_dim"] is None and line["images"] == 11


def test_one_that_does_not_write_evaluates_only(tmp_path):
    reported = Reported(tmp_path / "run", data_of(tmp_path, helpers.TINY), helpers.TINY, write=False)
    result = reported.evaluate(10)
    reported.reports.save_samples()
    reported.reports.write("train", {"loss": 1.0})
    reported.reports.flush()
    assert math.isfinite(result.mean)
    # It knows the best like the one that writes, as both continue from the same checkpoint.
    assert best_line(reported.parts.state) == f"{result.mean:.3f} test bits/dim at step 10"
    assert not (tmp_path / "run").exists()


def test_an_inexact_inverse_is_told(tmp_path):
    """A coupling that adds 1e5 costs the values their last digits."""
    config = glow_tf.nice((4, 4, 3), K=2, width=8, blocks=1, n_bits=8)
    reported = Reported(tmp_path / "run", data_of(tmp_path, config), config)
    for path, weight in zip(reported.parts.flow.named_variables(trainable=True), reported.weights, strict=True):
        if path.endswith("leave/bias"):
            weight += 1e5
    reported.evaluate(1234)
    (said,) = reported.said
    assert said.startswith("step 1,234: images are not reconstructed exactly from their latents (error 0.0")
    assert "--gradient=stored" in said and "--coupling" not in said, "NICE has no such flag"
