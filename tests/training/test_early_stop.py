"""Runs that end when held-out bits/dim stop falling, interrupted and continued on the way."""

import dataclasses
import io
import pathlib

import pytest

from glow_tf.training import loop, reports
from glow_tf.training.evaluation import Evaluator
from tests.marks import slow
from tests.training.runs import assert_same_weights, lines, stop_at, train

pytestmark = pytest.mark.usefixtures("untraced", "short_timing")

# The third evaluation without a better one is that of step 10; the best until then is that of step 4.
FIGURES = {2: 3.0, 4: 2.0, 6: 2.5, 7: 2.5, 8: 2.0, 10: 2.25, 12: 1.0}
FIELDS = {"steps": 14, "eval_every": 2, "eval_images": 4, "early_stop": 3, "log_every": 4, "checkpoint_every": 3}


class Reports(reports.Reports):
    """Reports whose evaluator returns `FIGURES`."""

    def __init__(self, state, evaluator, *arguments, **named):
        super().__init__(state, FakeFigures(state, evaluator), *arguments, **named)


@pytest.fixture(scope="module", autouse=True)
def figures():
    """Makes evaluations during training return `FIGURES`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Reports", Reports)
        yield


class FakeFigures:
    """An evaluator that evaluates, but returns other figures."""

    def __init__(self, state, evaluator: Evaluator):
        self._state, self._evaluator = state, evaluator

    def __call__(self, batches):
        result = self._evaluator(batches)
        return dataclasses.replace(result, mean=FIGURES[self._state.step]) if result.images == 4 else result


def without_time(directory: pathlib.Path, kind: str):
    clock = ("time", "images_per_second")
    return [{name: v for name, v in line.items() if name not in clock} for line in lines(directory, kind)]


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory, tiny_source):
    directory = tmp_path_factory.mktemp("early")
    with pytest.MonkeyPatch.context() as patch:
        stderr = io.StringIO()
        patch.setattr("sys.stderr", stderr)
        return directory, *train(directory, tiny_source, **FIELDS), stderr.getvalue()


def test_a_run_ends_after_so_many_evaluations_without_a_better_one(stopped_early):
    directory, trainer, result, text = stopped_early
    assert trainer.stopped_early and trainer.step == 10
    assert "Stopping early after 3 evaluations without a better one. The best: 2.000 test bits/dim at step 4." in text
    # As at the last step: an evaluation of all images, samples, a checkpoint, and all steps are logged.
    assert result.images == 11
    tests = [(line["step"], line["images"]) for line in lines(directory, "test")]
    assert tests == [(2, 4), (4, 4), (6, 4), (8, 4), (10, 4), (10, 11)]
    assert [line["step"] for line in lines(directory, "train")] == [4, 8, 10]
    assert trainer.reports.samples_path.name == "step_0000010.png"
    assert (directory / "checkpoints/ckpt-10.index").exists()


@pytest.mark.parametrize("killed", [True, slow(False)])
def test_evaluations_are_counted_through_stops_and_kills(tmp_path, tiny_source, monkeypatch, stopped_early, killed):
    directory, expected, result, _ = stopped_early
    stop_at(monkeypatch, tmp_path, tiny_source, 8, **FIELDS)
    if killed:
        # As left by a process that has no time to write: the last checkpoint is that of step 6.
        for file in (tmp_path / "checkpoints").glob("ckpt-8.*"):
            file.unlink()
    again, same = train(tmp_path, tiny_source, **FIELDS)
    assert again.stopped_early and again.step == 10 and same == result
    assert_same_weights(again, expected)
    for kind in ("train", "test"):
        assert without_time(tmp_path, kind) == without_time(directory, kind)


def test_only_evaluations_that_were_made_are_counted_with_another_interval(tmp_path, tiny_source, monkeypatch):
    """After that of step 6 come those of 7 and 8, rather than the third at step 7."""
    stop_at(monkeypatch, tmp_path, tiny_source, 6, **FIELDS)
    again, _ = train(tmp_path, tiny_source, **{**FIELDS, "eval_every": 1})
    assert again.stopped_early and again.step == 8


@pytest.mark.slow
def test_a_run_that_stopped_early_ends_again_and_goes_on_with_more_patience(tiny_source, stopped_early):
    directory, _, result, _ = stopped_early
    before = without_time(directory, "test")
    again, same = train(directory, tiny_source, **FIELDS)
    assert again.stopped_early and again.step == 10 and same == result
    assert without_time(directory, "test") == before

    more, _ = train(directory, tiny_source, **{**FIELDS, "early_stop": 4})
    assert not more.stopped_early and more.step == 14
    assert int(more.run_state.best_step) == 12
