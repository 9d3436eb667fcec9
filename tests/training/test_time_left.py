"""The estimate of the time left, against runs on a simulated clock in which every part takes a known time."""

import dataclasses
import functools

import pytest

from glow_tf.training import loop
from glow_tf.training.config import TrainingConfig
from glow_tf.training.time_left import TimeLeft
from tests.training.runs import train


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """Durations of the parts of a run, in seconds, and how much longer compiled parts take the first time."""

    step: float
    image: float = 0.0
    evaluation: float = 0.0
    grid: float = 0.0
    checkpoint: float = 0.0
    compilation: float = 20.0


class Simulation:
    """A run as in the training loop, in calls of up to ten steps or two seconds.

    Attributes:
      estimates: time, step and estimate at each call.
      end: when the run was over.
    """

    def __init__(self, training: TrainingConfig, held_out: int, costs: Costs):
        self._training, self._held_out, self._costs = training, held_out, costs
        self._now, self._compiled = 0.0, set()
        self.estimates: list[tuple[float, int, float | None]] = []
        left = TimeLeft(training, held_out, clock=lambda: self._now)
        self._now += 30.0
        left.begin()
        begun, step = self._now, 0
        images = min(training.eval_images or held_out, held_out)
        while step < training.steps:
            every = [training.eval_every, training.sample_every, training.checkpoint_every]
            most = max(1, min(10, int(2 / costs.step)))
            stop = min([training.steps, step + most, *((step // n + 1) * n for n in every if n)])
            self._pass("steps", (stop - step) * costs.step)
            left.made(stop - step)
            step = stop
            self.estimates.append((self._now - begun, step, left.seconds(step)))
            if step == training.steps:
                break
            if training.sample_every and step % training.sample_every == 0:
                with left.drawing():
                    self._pass("grid", costs.grid)
            if training.eval_every and step % training.eval_every == 0:
                with left.evaluating():
                    self._pass("evaluation", costs.evaluation + images * costs.image)
            if training.checkpoint_every and step % training.checkpoint_every == 0:
                with left.saving():
                    self._now += costs.checkpoint
        self._now += costs.checkpoint + costs.grid + costs.evaluation + held_out * costs.image
        self.end = self._now - begun

    def _pass(self, kind: str, seconds: float) -> None:
        self._now += seconds if kind in self._compiled else seconds + self._costs.compilation
        self._compiled.add(kind)


@pytest.mark.parametrize(
    ("fields", "held_out", "costs"),
    [
        pytest.param({"steps": 20_000}, 100, Costs(step=0.02, grid=0.1, evaluation=0.3, checkpoint=0.2), id="usual"),
        pytest.param(
            {"steps": 3000, "eval_every": 100, "eval_images": 500, "sample_every": 0},
            500,
            Costs(step=0.05, image=0.02),
            id="evaluations take two thirds",
        ),
        pytest.param(
            {"steps": 2000, "eval_every": 0, "sample_every": 100, "checkpoint_every": 0},
            1,
            Costs(step=0.1, grid=15.0),
            id="samples take three fifths",
        ),
        pytest.param(
            {"steps": 4000, "checkpoint_every": 100, "eval_every": 0, "sample_every": 0},
            1,
            Costs(step=0.2, checkpoint=15.0),
            id="checkpoints take two fifths",
        ),
        pytest.param(
            {"steps": 1500, "eval_every": 1000, "eval_images": 100, "sample_every": 0},
            40_000,
            Costs(step=0.64, image=0.64 / 64 / 4),
            id="an evaluation at the end that takes a tenth, and none before",
        ),
        pytest.param(
            {"steps": 30, "eval_every": 10, "eval_images": 10, "sample_every": 0},
            100,
            Costs(step=25.0, image=0.1),
            id="few steps of half a minute",
        ),
    ],
)
def test_the_estimate_is_right_after_the_first_minute(fields, held_out, costs):
    """Within a fifth of the time left, or ten seconds at the very end, when little is left."""
    run = Simulation(TrainingConfig(**fields), held_out, costs)
    later = [(run.end - now, left) for now, step, left in run.estimates if now > 60 + costs.compilation]
    assert len(later) > 10
    for actual, left in later:
        assert left == pytest.approx(actual, rel=0.2, abs=10), f"{actual:.0f} s before the end"


# From the 16x16 quick start on two cores, on which other programs ran now and then: seconds of each 50 of 2,800 steps,
# of the evaluation of 114 images at step 2,000, including compilation, and of the one at the end.
FIFTY_STEPS = (
    *(17.6, 17.1, 17.1, 13.7, 13.0, 8.1, 11.1, 15.2, 16.8, 15.6, 15.9, 16.8, 15.4, 16.2),
    *(16.6, 16.2, 16.9, 18.2, 18.0, 18.1, 22.0, 17.4, 18.4, 17.5, 17.6, 17.9, 15.8, 15.8),
    *(17.0, 16.9, 16.1, 15.6, 16.1, 15.7, 13.2, 13.0, 17.7, 16.9, 15.7, 16.2, 13.3, 8.6),
    *(13.6, 15.9, 17.9, 16.5, 17.2, 15.3, 16.9, 15.7, 10.0, 10.5, 16.4, 17.5, 12.7, 9.7),
)
EVALUATIONS = (18.6, 1.6)


def test_a_recorded_run():
    """From the first minute on, the estimate is within a fifth of the truth, or half a minute near the end."""
    now, found = [0.0], []
    left = TimeLeft(TrainingConfig(steps=2800, batch_size=32), 114, clock=lambda: now[0])
    for i, seconds in enumerate(FIFTY_STEPS):
        # As the loop calls it, some seconds at a time.
        for part in range(5):
            now[0] += seconds / 5
            left.made(10)
            found.append((now[0], left.seconds(50 * i + 10 * part + 10)))
        if 50 * i + 50 == 2000:
            with left.evaluating():
                now[0] += EVALUATIONS[0]
    end = now[0] + EVALUATIONS[1]
    assert end == pytest.approx(894, abs=1)
    for at, estimate in found[5 * 4 :]:
        assert at > 60
        assert estimate == pytest.approx(end - at, rel=0.2, abs=30), f"{at:.0f} s after the beginning"


def test_the_last_evaluation_does_not_repeat_what_an_evaluation_takes_besides():
    """Half a minute of each does not depend on the number of images: 100, and 40,000 at the end."""
    costs = Costs(step=0.1, image=0.0008, evaluation=30.0, compilation=5.0)
    run = Simulation(TrainingConfig(steps=20_000, eval_every=1000, eval_images=100, sample_every=0), 40_000, costs)
    # After the second evaluation. Without the cap per image, the last one alone would be expected to take 3 hours.
    for now, step, left in run.estimates:
        if 2010 < step < 19_000:
            assert left == pytest.approx(run.end - now, rel=0.2)


def test_the_first_evaluation_bounds_the_next():
    """Evaluation is far faster than training: an image takes a hundredth of the time."""
    now = [0.0]
    training = TrainingConfig(steps=1000, batch_size=10, eval_every=10, eval_images=0, sample_every=0, samples=1)
    left = TimeLeft(training, 1000, clock=lambda: now[0])
    for _ in range(2):
        now[0] += 50
        left.made(5)
    with left.evaluating():
        now[0] += 10
    assert left.seconds(10) == pytest.approx(990 * 10 + 100 * 10, rel=0.02)


def test_compilation_is_no_part_of_it():
    """The duration of the first call is not expected of any other."""
    run = Simulation(TrainingConfig(steps=100, eval_every=0, sample_every=0), 1, Costs(step=1.0, compilation=500.0))
    (_, step, first), (_, second_step, second), *_ = run.estimates
    assert (step, first) == (2, None)
    assert second_step == 4
    assert second == pytest.approx(96, rel=0.02)


def test_checkpoints_by_the_clock_count_too():
    """One every 12 seconds, as set by `checkpoint_minutes`, takes 3 seconds."""
    now = [0.0]
    training = TrainingConfig(
        steps=1000, eval_every=0, sample_every=0, checkpoint_every=0, checkpoint_minutes=0.2, batch_size=64
    )
    left = TimeLeft(training, 1, clock=lambda: now[0])
    for _ in range(2):
        now[0] += 10
        left.made(10)
        with left.saving():
            now[0] += 3
    assert left.seconds(20) == pytest.approx(980 + 82 * 3, rel=0.02)


def test_it_follows_a_change_of_speed():
    """Another program starts; ten minutes later the estimate is as if it had always run."""
    now = [0.0]
    left = TimeLeft(TrainingConfig(steps=100_000, eval_every=0, sample_every=0), 1, clock=lambda: now[0])
    for seconds_per_step, minutes in ((0.1, 60), (0.2, 10)):
        for _ in range(minutes * 60):
            now[0] += 1
            left.made(round(1 / seconds_per_step))
    assert left.seconds(50_000) == pytest.approx(50_000 * 0.2, rel=0.2)


class Timed:
    """A training run on a simulated clock: a step takes 100 seconds, an image in an evaluation ten.

    Attributes:
      shown: the estimate at each step.
    """

    def __init__(self, patch):
        self.now, self.shown = 0.0, {}
        timed = self

        class Progress(loop.Progress):
            """Progress that records the estimates it is to show."""

            def update(self, step, bits_per_dim, images_per_second, seconds_left):
                timed.shown[step] = seconds_left
                super().update(step, bits_per_dim, images_per_second, seconds_left)

        class Reports(loop.Reports):
            """Reports whose evaluations advance the clock."""

            def evaluate(self, say, limit=None):
                timed.now += 10.0 * (limit or 11)
                return super().evaluate(say, limit)

        class Train:
            """A train function whose steps advance the clock."""

            def __init__(self, *arguments):
                self._train = make_train_function(*arguments)
                self.get_concrete_function = self._train.get_concrete_function

            def __call__(self, iterator, steps, enabled):
                timed.now += 100.0 * float(steps) if enabled else 1000.0
                return self._train(iterator, steps, enabled)

        make_train_function = loop.make_train_function
        patch.setattr(loop, "Progress", Progress)
        patch.setattr(loop, "Reports", Reports)
        patch.setattr(loop, "make_train_function", Train)
        patch.setattr(loop, "TimeLeft", functools.partial(TimeLeft, clock=lambda: self.now))


@pytest.mark.usefixtures("untraced", "short_timing")
def test_a_run_shows_it(tmp_path, tiny_source, monkeypatch):
    timed = Timed(monkeypatch)
    train(tmp_path, tiny_source, steps=9, eval_every=2, eval_images=4)
    assert list(timed.shown) == list(range(1, 10))
    assert timed.shown[1] is None
    # After the second evaluation, at step 4: steps, evaluations of 4 images at steps 6 and 8, and of all 11 at the end.
    expected = {5: 400 + 2 * 40 + 110, 6: 300 + 2 * 40 + 110, 7: 200 + 40 + 110, 8: 100 + 40 + 110, 9: 110}
    # The four samples at the end take no time on this clock, but are expected to take a share of training on as many.
    samples = 4 * (100 / 8) / 3.5
    assert {step: timed.shown[step] - samples for step in expected} == pytest.approx(expected, abs=0.5)
