"""Whole runs of the Trainer on a few images: what they start from, leave behind and refuse."""

import dataclasses
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

import glow_tf
from glow_tf.data import DataError, labelled_rows, load_source
from glow_tf.models import storage
from glow_tf.training import evaluation, loop
from glow_tf.training.batches import TrainingBatches
from glow_tf.training.guard import DivergenceError
from glow_tf.training.loop import Trainer
from glow_tf.training.workers import WorkerLostError
from tests.extending.my_parts import Dense
from tests.marks import slow
from tests.training import helpers
from tests.training.runs import ONE_DEVICE, lines, stop_at, train, training

pytestmark = pytest.mark.usefixtures("untraced", "short_timing")


def shape_of(png):
    return tuple(tf.io.decode_png(png.read_bytes()).shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vast(Dense):
    """A network that needs more memory than there is."""

    def apply(self, tensors, x, context=None, training=False, seed=None):
        return super().apply(tensors, x, context) + tf.reduce_max(tf.fill([2**46], tf.reduce_sum(x)))


@pytest.mark.slow  # TensorFlow tries for ten seconds, several times.
def test_too_little_memory_ends_the_run_with_what_needs_less(tmp_path, tiny_source):
    config = glow_tf.glow((4, 4, 3), K=1, L=1, n_bits=5, network=Vast(width=4))
    with pytest.raises(
        MemoryError, match=r"At step 0 there is not enough memory: .* than 1, or a smaller --batch_size than 8, needs"
    ):
        train(tmp_path, tiny_source, config, steps=1)


def test_one_of_several_workers_with_too_little_memory_says_what_needs_less(tmp_path, tiny_source):
    trainer = Trainer(helpers.TINY, training(), tiny_source, tmp_path, ONE_DEVICE)
    trainer._workers.count = 2
    error = trainer._explained(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert isinstance(error, WorkerLostError) and "--batch_size" in str(error)


def test_the_caller_says_what_needs_less_memory(tmp_path, tiny_source):
    fewer = "A smaller --train_batch_size than 8"
    trainer = Trainer(helpers.TINY, training(), tiny_source, tmp_path, ONE_DEVICE, less_memory=fewer)
    error = trainer._explained(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert f"{fewer} needs less." in str(error) and "accumulate_steps" not in str(error)


def test_no_more_images_are_evaluated_at_once_than_are_trained(tmp_path, tiny_source, monkeypatch):
    """With gradient accumulation, evaluations would otherwise need more memory than the training."""
    seen, batch_likelihood = set(), evaluation.batch_likelihood

    def recorded(flow, batch):
        seen.add(len(batch["x"]))
        return batch_likelihood(flow, batch)

    monkeypatch.setattr(evaluation, "batch_likelihood", recorded)
    train(tmp_path, tiny_source, steps=1, batch_size=8, accumulate_steps=4)
    assert max(seen) == 2


def test_a_run_leaves_everything_it_should(tmp_path, source):
    config = helpers.CONFIG
    trainer, result = train(
        tmp_path,
        source,
        config,
        steps=20,
        steps_per_call=3,
        log_every=5,
        eval_every=10,
        eval_images=4,
        sample_every=8,
        samples=6,
        checkpoint_every=8,
        keep_checkpoints=2,
        keep_every_hours=0.0,
    )
    assert trainer.step == 20 and trainer.is_chief
    assert trainer.flow.initialized
    assert (result.images, result.label_error) == (11, None)
    assert 0 < result.mean < 20 and 0 < result.standard_error < 5

    train_lines, test_lines = lines(tmp_path, "train"), lines(tmp_path, "test")
    assert [line["step"] for line in train_lines] == [5, 10, 15, 20]
    measured = {"loss", "bits_per_dim", "gradient_norm", "images_per_second", "learning_rate", "skipped_steps"}
    assert {"step", "time", "kind", *measured} == train_lines[0].keys()
    assert train_lines[-1]["loss"] < train_lines[0]["loss"]
    assert [(line["step"], line["images"]) for line in test_lines] == [(10, 4), (20, 11)]
    assert test_lines[-1]["bits_per_dim"] == result.mean
    (pipeline,) = lines(tmp_path, "pipeline")
    assert pipeline["step"] == 0 and pipeline["images_per_second"] > 0

    assert storage.load_config(tmp_path) == config
    names = {file.stem for file in (tmp_path / "checkpoints").glob("*.index")}
    assert names == {"ckpt-16", "ckpt-20"}
    samples = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in samples] == [f"step_{step:07d}.png" for step in (8, 16, 20)]
    assert trainer.reports.samples_path == samples[-1]
    # 3 columns and 2 rows of 8 pixels with borders of 1, enlarged 8 times.
    assert {shape_of(file) for file in samples} == {(8 * 19, 8 * 28, 3)}
    assert [file.name for file in sorted((tmp_path / "reconstructions").iterdir())] == [
        f"step_{step:07d}.png" for step in (10, 20)
    ]
    assert tags(tmp_path) >= {
        *(f"train/{name}" for name in measured),
        *("test/bits_per_dim", "test/standard_error", "pipeline/images_per_second"),
        *(f"{kind}/level_{level}" for kind in ("log_det", "prior", "condition") for level in (1, 2)),
        *("round_trip/error", "samples", "reconstructions"),
    }

    loaded = storage.load(tmp_path)
    assert loaded.initialized
    raw = storage.load(tmp_path, weights="raw").named_variables()
    for path, variable in trainer.flow.named_variables().items():
        np.testing.assert_array_equal(raw[path], variable, err_msg=path)
    assert any(np.any(loaded.named_variables()[path] != raw[path]) for path in raw)


def tags(directory):
    """Returns the tags that TensorBoard finds."""
    accumulator = event_accumulator.EventAccumulator(str(directory / "tensorboard"))
    accumulator.Reload()
    return set(accumulator.Tags()["tensors"])


@pytest.mark.slow
def test_two_replicas_a_classifier_and_partial_batches(tmp_path, source):
    _, result = train(
        tmp_path, source, helpers.LABELLED, helpers.two_replicas(), steps=2, label_loss_weight=0.1, flip=True
    )
    assert result.images == 11
    assert 0 <= result.label_error <= 1
    line = lines(tmp_path, "train")[-1]
    np.testing.assert_allclose(line["loss"], line["bits_per_dim"] + 0.1 * line["label_bits"], rtol=1e-5)
    assert lines(tmp_path, "test")[-1]["label_error"] == result.label_error


def test_few_labels_in_a_run(tmp_path):
    """A classifier that begins at zero needs log2(3) bits for each label, and 6 of the 18 images have one.

    In one epoch of batches of six, the loss counts the labels in each batch, and its mean is that over labelled images.
    """
    path = tmp_path / "images.npz"
    np.savez(path, images=helpers.random_images(24, helpers.GUESSING), labels=np.arange(24) % 3)
    source = load_source("arrays", data_dir=str(path), test_size=6)
    fields = {"label_loss_weight": 0.1, "labels_per_class": 2, "batch_size": 6, "steps": 3, "learning_rate": 1e-20}
    _, result = train(tmp_path / "run", source, helpers.GUESSING, **fields)
    counts = [line["label_bits"] / np.log2(3) * 2 for line in lines(tmp_path / "run", "train")]
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)
    assert len(set(np.round(counts))) > 1 and round(sum(counts)) == 6
    # All held-out images have their labels.
    assert result.label_error == pytest.approx(2 / 3)


@pytest.mark.slow
def test_a_run_on_labelled_images_alone_sees_no_others(tmp_path):
    images, losses = helpers.random_images(24, helpers.GUESSING), []
    fields = {"label_loss_weight": 0.1, "labels_per_class": 2, "batch_size": 6, "steps": 3}
    for name, others in (("one", 0), ("two", 255)):
        path = tmp_path / f"{name}.npz"
        np.savez(path, images=images, labels=np.arange(24) % 3)
        rows = labelled_rows(load_source("arrays", data_dir=str(path), test_size=6), 2, seed=0)
        changed = images.copy()
        changed[np.setdiff1d(np.arange(18), rows)] = others
        np.savez(path, images=changed, labels=np.arange(24) % 3)
        source = load_source("arrays", data_dir=str(path), test_size=6)
        train(tmp_path / name, source, helpers.GUESSING, labelled_only=True, **fields)
        losses.append([line["loss"] for line in lines(tmp_path / name, "train")])
        labels = [line["label_bits"] for line in lines(tmp_path / name, "train")]
        # The classifier begins at zero, and every image of the first batch has a label.
        assert labels[0] == pytest.approx(np.log2(3), rel=1e-4)
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_another_seed_is_another_run(tmp_path, tiny_source, monkeypatch):
    for seed in (0, 1):
        stop_at(monkeypatch, tmp_path / str(seed), tiny_source, 1, seed=seed)
    first, second = (lines(tmp_path / str(seed), "train")[0]["loss"] for seed in (0, 1))
    assert first != second


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, source):
    larger = glow_tf.glow((16, 16, 3), K=1, L=1, width=4)
    with pytest.raises(ValueError, match=r"\(8, 8, 3\).*\(16, 16, 3\)"):
        Trainer(larger, training(), source, tmp_path / "a", ONE_DEVICE)
    with pytest.raises(ValueError, match="--batch_size=7 .* multiple of 2 .* --num_replicas=1 trains on one device"):
        Trainer(helpers.CONFIG, training(batch_size=7), source, tmp_path / "a", helpers.two_replicas())
    with pytest.raises(ValueError, match=r"--batch_size=12 .* multiple of 2 \* --accumulate_steps=4"):
        config = training(batch_size=12, accumulate_steps=4)
        Trainer(helpers.CONFIG, config, source, tmp_path / "a", helpers.two_replicas())
    two_classes = glow_tf.glow((8, 8, 3), K=1, L=1, width=4, num_classes=2)
    with pytest.raises(DataError, match="arrays has 3 classes, and the model 2"):
        Trainer(two_classes, training(), source, tmp_path / "a", ONE_DEVICE)
    for config in (helpers.LABELLED, helpers.GUESSING):
        unlabelled = dataclasses.replace(source, num_classes=0, class_names=())
        with pytest.raises(DataError, match="the model uses labels, from 0 to 2, and the images have none"):
            Trainer(config, training(), unlabelled, tmp_path / "a", ONE_DEVICE, other_data=True)
    given = glow_tf.glow(
        (8, 8, 3), K=1, L=1, width=4, n_bits=5, num_classes=3, conditional_couplings=True, classifier=True
    )
    with pytest.raises(ValueError, match="--label_loss_weight=0.1 trains a classifier, .* --conditional_couplings"):
        Trainer(given, training(label_loss_weight=0.1), source, tmp_path / "a", ONE_DEVICE)
    few = training(labels_per_class=2, label_loss_weight=0.1)
    for config in (helpers.LABELLED, helpers.CONFIG):
        with pytest.raises(ValueError, match="--labels_per_class=2 .* without --conditional"):
            Trainer(config, few, source, tmp_path / "a", ONE_DEVICE)
    with pytest.raises(DataError, match="--labels_per_class=20: of class .* training image"):
        config = training(labels_per_class=20, label_loss_weight=0.1)
        Trainer(helpers.GUESSING, config, source, tmp_path / "a", ONE_DEVICE)
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_directory_of_another_model_is_refused(source, tiny_source, through):
    with pytest.raises(ValueError, match="another model"):
        Trainer(helpers.CONFIG, training(), source, through[0], ONE_DEVICE)
    with pytest.raises(ValueError, match="another optimizer"):
        Trainer(helpers.TINY, training(optimizer="adam"), tiny_source, through[0], ONE_DEVICE)


def saved_steps(directory):
    return sorted(int(file.stem.removeprefix("ckpt-")) for file in (directory / "checkpoints").glob("*.index"))


@pytest.mark.parametrize(
    ("minutes", "seconds_per_step", "expected"),
    # The last is saved in any case. The interval begins anew with each.
    [(1, 40, [2, 4, 5]), slow((1e-9, 0, [1, 2, 3, 4, 5])), slow((60, 0, [5]))],
)
def test_checkpoints_by_time(tmp_path, tiny_source, monkeypatch, minutes, seconds_per_step, expected):
    """On a clock that is advanced at each step."""
    steps = []

    class Stepping(loop.Progress):
        def update(self, step, *numbers):
            super().update(step, *numbers)
            steps.append(step)

    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + len(steps) * seconds_per_step)
    monkeypatch.setattr(loop, "Progress", Stepping)
    monkeypatch.setattr(loop, "time", clock)
    train(tmp_path, tiny_source, steps=5, checkpoint_minutes=minutes, keep_checkpoints=9)
    assert saved_steps(tmp_path) == expected


@pytest.mark.parametrize(("settings", "count"), [({"init_images": 24}, 24), ({"accumulate_steps": 2}, 4)])
def test_actnorm_is_initialised_from_as_many_images_as_asked_for(tmp_path, tiny_source, settings, count):
    """The weights after a step at a learning rate of nothing are those of the first images."""
    config = glow_tf.glow((4, 4, 3), K=1, L=1, width=2, n_bits=5)
    fields = training(steps=1, batch_size=8, **settings, learning_rate=1e-20)
    trainer = Trainer(config, fields, tiny_source, tmp_path, ONE_DEVICE)
    trainer.run()
    expected = glow_tf.Flow(config, seed=fields.seed)
    first = next(iter(TrainingBatches(tiny_source, fields, config).augmented(count, 0)))
    assert first["images"].shape[0] == count
    expected.initialize(first["images"])
    for path, variable in expected.named_variables().items():
        np.testing.assert_allclose(trainer.flow.named_variables()[path], variable, atol=1e-6, err_msg=path)


def test_where_nothing_is_initialised_from_images_none_are_looked_at(tmp_path, tiny_source, monkeypatch, capsys):
    config = dataclasses.replace(helpers.TINY, layers=helpers.TINY.layers[:-1])
    monkeypatch.setattr(glow_tf.Flow, "initialize", None)
    trainer = stop_at(monkeypatch, tmp_path, tiny_source, 1, config)
    assert trainer.flow.initialized
    assert "Initialising" not in capsys.readouterr().err


def test_the_learning_rate_of_a_line_is_that_of_its_update(tmp_path, tiny_source):
    """One step of warm-up, and half a cosine over the two others."""
    fields = {"steps": 3, "warmup_steps": 1, "learning_rate": 1e-3, "lr_schedule": "cosine"}
    train(tmp_path, tiny_source, **fields)
    found = [line["learning_rate"] for line in lines(tmp_path, "train")]
    np.testing.assert_allclose(found, [1e-3, 1e-3, 5e-4], rtol=1e-5)


def test_a_singular_convolution_is_told(tmp_path, tiny_source):
    config = glow_tf.glow((4, 4, 3), K=1, L=1, width=2, n_bits=5, permutation="conv1x1_dense")
    flow = glow_tf.Flow(config)
    flow.initialize(helpers.random_images(8, config))
    weight = flow.named_variables()["layers/01_steps/conv1x1/weight"]
    numbers = weight.numpy()
    numbers[0, 1] = 0
    weight.assign(numbers)
    trainer = Trainer(config, training(), tiny_source, tmp_path, ONE_DEVICE, begin_with=flow)
    with pytest.raises(DivergenceError, match="At step 0 the matrix .* is singular. --permutation=conv1x1"):
        trainer.run()


def test_a_run_begins_with_the_weights_of_another_model(tmp_path, tiny_source):
    other = glow_tf.Flow(helpers.TINY, seed=5)
    other.initialize(helpers.random_images(16, helpers.TINY))
    storage.save(other, tmp_path / "other")
    fields = training(steps=2, init_from=str(tmp_path / "other"), learning_rate=1e-20)
    Trainer(helpers.TINY, fields, tiny_source, tmp_path / "still", ONE_DEVICE).run()
    assert checkpoint_equals(tmp_path / "still/checkpoints/ckpt-2", other)
    # Once started, it continues by itself, whatever became of the other model.
    again = training(steps=3, init_from=str(tmp_path / "gone"))
    Trainer(helpers.TINY, again, tiny_source, tmp_path / "still", ONE_DEVICE).run()
    assert not checkpoint_equals(tmp_path / "still/checkpoints/ckpt-3", other)


def checkpoint_equals(prefix, flow):
    reader = tf.train.load_checkpoint(str(prefix))
    names = {path: f"flow/{path}/.ATTRIBUTES/VARIABLE_VALUE" for path in flow.named_variables()}
    values = flow.named_variables()
    return all(np.allclose(reader.get_tensor(name), values[path], rtol=0, atol=1e-15) for path, name in names.items())


def test_weights_of_a_model_that_is_another_or_not_there(tmp_path, tiny_source):
    storage.save(glow_tf.Flow(helpers.CONFIG), tmp_path / "other")
    for name, error, message in (
        ("other", ValueError, "--init_from=.*other is another model"),
        ("nowhere", FileNotFoundError, "nowhere is not a model directory"),
    ):
        fields = training(init_from=str(tmp_path / name))
        with pytest.raises(error, match=message):
            Trainer(helpers.TINY, fields, tiny_source, tmp_path / "run", ONE_DEVICE)
    assert not (tmp_path / "run").exists()
