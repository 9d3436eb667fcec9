"""Reporting of a run to trackers. Weights & Biases and MLflow are tested where they are installed."""

import importlib.util
import json
import math

import numpy as np
import pytest

from glow_tf.training import trackers
from glow_tf.training.config import TrainingConfig
from glow_tf.training.metrics import MetricsWriter, hyperparameters
from glow_tf.training.trackers import Trackers, check_installed
from tests.training.runs import lines, stop_at, train

IMAGE = np.random.default_rng(0).integers(0, 256, [6, 8, 3], np.uint8)
GREY = IMAGE[..., :1]


class Recorder:
    """A tracker that records its calls, for all processes of a run.

    Attributes:
      calls: name and arguments of each call.
    """

    calls: list[tuple] = []

    def __init__(self, name, run_id):
        self.id = run_id or "id-of-the-first"
        self.calls.append(("begin", name, run_id))

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
def recorded(monkeypatch):
    """The calls of a recorder in place of Weights & Biases."""
    monkeypatch.setitem(trackers._KINDS, "wandb", Recorder)
    monkeypatch.setattr(trackers, "check_installed", lambda names: None)
    monkeypatch.setattr(Recorder, "calls", [])
    return Recorder.calls


@pytest.mark.usefixtures("untraced", "short_timing")
def test_a_run_tells_all_that_is_in_metrics_jsonl(tmp_path, tiny_source, recorded, monkeypatch):
    fields = {"steps": 4, "eval_every": 2, "sample_every": 2, "eval_images": 4, "tracker": "wandb"}
    stop_at(monkeypatch, tmp_path, tiny_source, 2, **fields)
    assert [recorded[0], recorded[-1]] == [("begin", tmp_path.name, None), ("close", "KILLED")]
    (values,) = [arguments[0] for name, *arguments in recorded if name == "write_hyperparameters"]
    assert (values["steps"], values["model"], values["tracker"]) == (4, "nice", "wandb")
    assert (values["config.layers.1.depth"], values["config.layers.1.network.width"]) == (2, 8)
    recorded.clear()

    train(tmp_path, tiny_source, **fields)
    assert [recorded[0], recorded[-1]] == [("begin", tmp_path.name, "id-of-the-first"), ("close", "FINISHED")]
    images = [(name, step) for kind, name, step, *_ in [c for c in recorded if c[0] == "write_image"]]
    assert set(images) == {("samples", 2), ("samples", 4), ("reconstructions", 2), ("reconstructions", 4)}
    told = [(step, values) for kind, step, values in [call for call in recorded if call[0] == "write"]]
    # Values of step 2, which the first process wrote, are not reported again.
    for kind in ("train", "test"):
        for line in [line for line in lines(tmp_path, kind) if line["step"] > 2]:
            expected = {
                name if "/" in name else f"{kind}/{name}": value
                for name, value in line.items()
                if name not in ("step", "time", "kind")
            }
            assert (line["step"], expected) in told


def test_a_failure_ends_the_tracker_and_not_the_run(tmp_path, recorded, monkeypatch):
    def fail(self, *arguments):
        raise ConnectionError("no route\nto host")

    said = []
    run_trackers = Trackers("wandb", tmp_path)
    run_trackers.begin({"steps": 1}, said.append)
    run_trackers.write(1, {"train/loss": 1.0})
    monkeypatch.setattr(Recorder, "write", fail, raising=False)
    metrics = MetricsWriter(tmp_path, trackers=run_trackers)
    metrics.write("train", 2, {"loss": 1.0})
    metrics.write("train", 3, {"loss": 1.0})
    run_trackers.close("FINISHED")
    assert said == ["wandb failed, and the run goes on without it: no route to host"]
    assert [name for name, *_ in recorded] == ["begin", "write_hyperparameters", "write"]
    assert [line["step"] for line in lines(tmp_path, "train")] == [2, 3]


def test_one_that_cannot_begin_is_told_in_one_line(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("not logged in\nwandb login")

    monkeypatch.setitem(trackers._KINDS, "wandb", fail)
    with pytest.raises(ValueError, match="^--tracker=wandb cannot begin: not logged in wandb login$"):
        Trackers("wandb", tmp_path).begin({}, print)


def test_one_whose_run_is_gone_names_the_file_that_asks_for_it(tmp_path, recorded, monkeypatch):
    """As a run of W&B that was deleted, whose ID cannot be used again."""
    first = Trackers("wandb", tmp_path)
    first.begin({}, print)
    first.close("KILLED")

    def begin(name, run_id):
        if run_id:
            raise RuntimeError("was deleted")
        return Recorder(name, run_id)

    monkeypatch.setitem(trackers._KINDS, "wandb", begin)
    with pytest.raises(ValueError, match=r"cannot begin: was deleted \(.* delete .*trackers\.json\.\)$"):
        Trackers("wandb", tmp_path).begin({}, print)
    (tmp_path / "trackers.json").unlink()
    Trackers("wandb", tmp_path).begin({}, print)


def test_a_name_that_is_not_known():
    with pytest.raises(ValueError, match="tracker='wandb,neptune' has 'neptune', which is not one of wandb, mlflow"):
        TrainingConfig(tracker="wandb,neptune")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_told_before_anything_begins(tmp_path, tiny_source, name):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed.")
    with pytest.raises(ValueError, match=f"needs the package {name}: pip install {name}"):
        train(tmp_path / "run", tiny_source, tracker=name)
    assert not (tmp_path / "run").exists()
    check_installed("")


def report_twice(tracker, directory):
    """Reports a run from two processes: the second continues at step 20 with more steps, one of whose values is NaN."""
    for start, steps, status in ((0, 100, "KILLED"), (20, 200, "FINISHED")):
        run_trackers = Trackers(tracker, directory)
        run_trackers.begin(hyperparameters({"model": "glow", "steps": steps}), print)
        metrics = MetricsWriter(directory, start, trackers=run_trackers)
        for step in (start + 10, start + 20):
            metrics.write("train", step, {"loss": math.nan if step == 40 else step / 10})
            metrics.write_image("samples", step, IMAGE if step < 40 else GREY)
        run_trackers.close(status)


def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "tests")
    report_twice("mlflow", tmp_path / "run")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params == {"model": "glow", "steps": "100"} and run.data.tags["steps"] == "200"
    history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "train/loss")]
    assert history[:3] == [(10, 1.0), (20, 2.0), (30, 3.0)] and math.isnan(history[3][1])
    names = [file.path for file in client.list_artifacts(run.info.run_id, "samples")]
    assert names == [f"samples/step_00000{step}.png" for step in (10, 20, 30, 40)]
    # In a store without that run, another one begins.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "other").as_uri())
    Trackers("mlflow", tmp_path / "run").begin({}, print)
    assert json.loads((tmp_path / "run" / "trackers.json").read_text())["mlflow"] != run.info.run_id


def test_wandb(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    report_twice("wandb", tmp_path / "run")
    name = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    # Each process has its own folder of the same run; `wandb sync` joins them.
    folders = sorted((tmp_path / "wandb").glob(f"offline-run-*-{name}"))
    assert len(folders) == 2
    for folder, number in zip(folders, (2, 2), strict=True):
        assert (folder / f"run-{name}.wandb").stat().st_size
        assert len(list((folder / "files" / "media" / "images").glob("samples_*.png"))) == number
