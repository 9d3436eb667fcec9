"""The lines of metrics.jsonl and the events of TensorBoard."""

import errno
import json
import math
import os
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training.metrics import MetricsWriter, columns, read_metrics


def lines(directory):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (directory / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_lines_are_json(tmp_path):
    metrics = MetricsWriter(tmp_path)
    begun = time.time()
    metrics.write("train", 10, {"loss": 3.5, "rate": np.float32(0.25)})
    metrics.write("test", 10, {"bits_per_dim": tf.constant(2.5), "images": 100})
    first, second = lines(tmp_path)
    assert abs(first.pop("time") - begun) < 60
    assert first == {"step": 10, "kind": "train", "loss": 3.5, "rate": 0.25}
    assert (second["kind"], second["bits_per_dim"], second["images"]) == ("test", 2.5, 100)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(tmp_path, value):
    MetricsWriter(tmp_path).write("train", 1, {"loss": value, "norm": 1})
    (line,) = lines(tmp_path)
    assert line["loss"] is None
    assert line["norm"] == 1


def test_lines_after_the_restart_are_dropped(tmp_path):
    metrics = MetricsWriter(tmp_path)
    for step in (10, 20, 30):
        metrics.write("train", step, {"loss": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "ki')  # as a power cut leaves it
    metrics = MetricsWriter(tmp_path, 20)
    metrics.write("train", 25, {"loss": 25})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(10, 10), (20, 20), (25, 25)]


def test_a_step_that_is_evaluated_again_has_one_evaluation(tmp_path):
    metrics = MetricsWriter(tmp_path)
    for step in (10, 20):
        metrics.write("train", step, {"loss": step})
        metrics.write("test", step, {"bits_per_dim": step, "images": 9})
    metrics = MetricsWriter(tmp_path, 20)
    assert len(lines(tmp_path)) == 4
    metrics.write("test", 20, {"bits_per_dim": 19, "images": 9})
    assert [line.get("bits_per_dim") for line in lines(tmp_path)] == [None, 10, None, 19]
    # That on other images is another one.
    metrics.write("test", 20, {"bits_per_dim": 18, "images": 4})
    assert [line.get("bits_per_dim") for line in lines(tmp_path)] == [None, 10, None, 19, 18]


@pytest.mark.parametrize("junk", ["null", "[]", "3", '{"kind": "train"}', '{"step": null}', '{"step": "ten"}', ""])
def test_foreign_lines_are_dropped(tmp_path, junk):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{junk}\n')
    MetricsWriter(tmp_path, 20)
    assert lines(tmp_path) == [{"step": 1}]


@pytest.mark.parametrize(
    "junk",
    [
        b'{"step": 2, "kind": "tr\xe9in"}',
        b"\0" * 1000,
        b"\xff\xfe{\0",
        b"[" * 100_000,
        b'{"step": 1' + b"0" * 5000 + b"}",
    ],
    ids=["latin-1", "nul", "utf-16", "deep", "number"],
)
def test_lines_that_cannot_be_read_are_moved_and_told(tmp_path, junk):
    first, last = b'{"step": 1, "kind": "train"}\n', b'{"step": 3, "kind": "train"}\n'
    (tmp_path / "metrics.jsonl").write_bytes(first + junk + b"\n" + last)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 3]
    said = []
    MetricsWriter(tmp_path, 20, said.append)
    assert (tmp_path / "metrics.jsonl").read_bytes() == first + last
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == junk + b"\n"
    assert len(said) == 1 and "metrics.jsonl" in said[0]
    MetricsWriter(tmp_path, 20, said.append)
    assert len(said) == 1


def test_a_last_line_that_a_crash_cut_short_is_dropped_without_a_word(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "kind": "train"}\n{"step": 2, "ki')
    MetricsWriter(tmp_path, 20, pytest.fail)
    assert lines(tmp_path) == [{"step": 1, "kind": "train"}]
    assert not (tmp_path / "metrics.jsonl.damaged").exists()


def test_a_last_line_without_its_end_is_ended(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "kind": "train"}')
    MetricsWriter(tmp_path, 20).write("train", 21, {})
    assert [line["step"] for line in lines(tmp_path)] == [1, 21]


def test_no_file_has_no_lines(tmp_path):
    assert list(read_metrics(tmp_path)) == []


def test_hyperparameters_may_hold_names_of_files(tmp_path):
    MetricsWriter(tmp_path).write_hyperparameters({"init_from": os.fsdecode(b"caf\xe9"), "data": "été"})


def test_a_new_run_starts_with_an_empty_file(tmp_path):
    MetricsWriter(tmp_path).write("train", 10, {"loss": 1})
    MetricsWriter(tmp_path).write("train", 5, {"loss": 2})
    assert [line["loss"] for line in lines(tmp_path)] == [2]


def events(directory):
    """Returns the scalars of all event files by name and step, and a list of the pictures with step and name."""
    scalars, images = {}, []
    for file in sorted((directory / "tensorboard").glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                tensor = tf.make_ndarray(value.tensor)
                if value.metadata.plugin_data.plugin_name == "images" or value.tag == "samples":
                    images.append((event.step, value.tag, tf.io.decode_png(tensor[2]).numpy()))
                else:
                    scalars[value.tag, event.step] = float(tensor)
    return scalars, images


def test_events(tmp_path):
    metrics = MetricsWriter(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, [5, 7, 3], np.uint8)
    for step in (10, 20):
        metrics.write("train", step, {"loss": 3.5 + step})
    metrics.write_image("samples", 20, picture)
    metrics.flush()
    scalars, images = events(tmp_path)
    assert scalars == {("train/loss", 10): 13.5, ("train/loss", 20): 23.5}
    ((step, tag, image),) = images
    assert (step, tag) == (20, "samples")
    np.testing.assert_array_equal(image, picture)


def test_event_files_that_are_deleted_during_a_run_are_begun_anew(tmp_path):
    said = []
    metrics = MetricsWriter(tmp_path, say=said.append)
    metrics.write("train", 10, {"loss": 1.0})
    shutil.rmtree(tmp_path / "tensorboard")
    metrics.write("train", 20, {"loss": 2.0})
    metrics.flush()
    assert events(tmp_path) == ({("train/loss", 20): 2.0}, [])
    assert said == []


def test_event_files_of_an_earlier_start_are_no_substitute(tmp_path):
    MetricsWriter(tmp_path).write("train", 10, {"loss": 1.0})
    before = set((tmp_path / "tensorboard").iterdir())
    metrics = MetricsWriter(tmp_path, 10, pytest.fail)
    for file in set((tmp_path / "tensorboard").iterdir()) - before:
        file.unlink()
    metrics.write("train", 20, {"loss": 2.0})
    metrics.flush()
    assert events(tmp_path)[0] == {("train/loss", 10): 1.0, ("train/loss", 20): 2.0}


def test_a_run_goes_on_without_event_files_that_cannot_be_written(tmp_path):
    said = []
    metrics = MetricsWriter(tmp_path, say=said.append)
    shutil.rmtree(tmp_path / "tensorboard")
    (tmp_path / "tensorboard").write_text("a file")
    for step in (10, 20):
        metrics.write("train", step, {"loss": 1.0})
        metrics.write_image("samples", step, np.zeros([2, 2, 3], np.uint8))
    metrics.flush()
    assert [line["step"] for line in lines(tmp_path)] == [10, 20]
    (line,) = said
    assert line.startswith("TensorBoard failed, and the run goes on without it: ") and "\n" not in line
    with pytest.raises(OSError, match="tensorboard cannot be written: "):
        MetricsWriter(tmp_path)


def test_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    def fail(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "/a/events; No space left on device")

    metrics = MetricsWriter(tmp_path, say=pytest.fail)
    monkeypatch.setattr(tf.summary, "scalar", fail)
    with pytest.raises(OSError, match="tensorboard cannot be written: .*No space left on device") as error:
        metrics.write("train", 10, {"loss": 1.0})
    assert error.value.errno == errno.ENOSPC


def test_tensorboard_reads_the_events(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    metrics = MetricsWriter(tmp_path)
    metrics.write("test", 7, {"bits_per_dim": 3.25})
    metrics.flush()
    accumulator = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    assert accumulator.Tags()["tensors"] == ["test/bits_per_dim"]
    (event,) = accumulator.Tensors("test/bits_per_dim")
    assert (event.step, float(tf.make_ndarray(event.tensor_proto))) == (7, 3.25)


def test_columns_are_in_the_order_of_their_steps():
    lines = [
        {"step": 0, "kind": "pipeline", "images_per_second": 9.0},
        {"step": 10, "kind": "train", "loss": 3.0},
        {"step": 10, "kind": "test", "images": 4, "bits_per_dim": 5.0},
        {"step": 20, "kind": "train", "loss": None, "norm": 2},
        # The same step on other images, and on these once more.
        {"step": 10, "kind": "test", "images": 8, "bits_per_dim": 6.0},
        {"step": 10, "kind": "test", "images": 8, "bits_per_dim": 7.0},
        {"step": 5, "kind": "train", "loss": 4.0},
    ]
    train, test = columns(lines, "train"), columns(lines, "test")
    assert list(train) == ["step", "loss", "norm"]
    np.testing.assert_array_equal(train["step"], [5, 10, 20])
    np.testing.assert_array_equal(train["loss"], [4, 3, np.nan])
    np.testing.assert_array_equal(train["norm"], [np.nan, np.nan, 2])
    np.testing.assert_array_equal(test["bits_per_dim"], [5, 7])
    assert columns(lines, "other") == {}
