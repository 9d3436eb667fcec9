"""Skipped steps, the faulty layer that is named, and rollback to a checkpoint."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.models.diagnosis import first_nonfinite
from glow_tf.training import guard
from glow_tf.training.guard import DivergenceError, Guard, has_singular_convolution
from tests.training import helpers

pytestmark = pytest.mark.usefixtures("untraced")

TWO_LEVELS = glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5)
BAD = {"loss": float("nan"), "gradient_norm": float("inf")}


class Guarded:
    """A guard, the parts it guards, its messages, and the numbers of the batches it asks for."""

    def __init__(self, directory, config=helpers.TINY, x=None, replicas=1, **fields):
        self.parts = helpers.Parts(directory, config, **fields)
        self.parts.flow.initialize(helpers.random_images(16, config))
        (batch,) = helpers.batches(1, self.parts.training.batch_size, config)
        self.batch = batch if x is None else {**batch, "x": x(batch["x"].numpy())}
        self.said, self.asked = [], []
        parts = self.parts
        self.guard = Guard(parts.whole_state, parts.checkpoints, parts.training, self._batch_of, replicas=replicas)

    def _batch_of(self, step):
        self.asked.append(step)
        return self.batch

    def after(self, step, **values):
        return self.guard.after(step, {**BAD, **values}, self.said.append)

    def set(self, path, index, value):
        variable = self.parts.flow.named_variables()[path]
        numbers = variable.numpy()
        numbers[index] = value
        variable.assign(numbers)

    def counts(self):
        state = self.parts.state
        return [int(v) for v in (state.skipped, state.skipped_in_a_row, state.rollbacks)]

    def factor(self):
        return float(self.parts.optimizer.schedule.factor)


def test_a_single_step_is_skipped_and_told(tmp_path):
    guarded = Guarded(tmp_path, TWO_LEVELS)
    guarded.set("layers/04_steps/actnorm/logs", (1, 3), 100.0)
    before = guarded.parts.values()[: len(guarded.parts.variables)]
    assert guarded.after(1234, loss=float("nan"), gradient_norm=12.34567) is False
    assert guarded.said == [
        "step 1,234: update skipped, as the loss is nan and the norm of its gradient 12.35. First non-finite value: "
        "level 2, step 2 of 2, actnorm: its output. (1 in a row, 1 in all)"
    ]
    # Step n uses batch n - 1.
    assert guarded.asked == [1233]
    assert guarded.counts() == [1, 1, 0] and guarded.factor() == 1
    for a, b in zip(guarded.parts.values(), before, strict=False):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("path", "index", "value", "where"),
    [
        (
            "layers/01_steps/network/conv2/kernel",
            (0, 0, 0, 2, 1),
            np.nan,
            "level 1, step 1 of 2, coupling: its output",
        ),
        ("layers/02_split/bias", (3,), np.inf, "level 1, split: its log-det"),
        # Its output is finite; the gradient of its scale contains the square of that.
        (
            "layers/04_steps/network/conv3/bias",
            (1, 0),
            1e21,
            "level 2, step 2 of 2, coupling: the gradient of network/conv3/log_scale",
        ),
    ],
)
def test_the_layer_is_named(tmp_path, path, index, value, where):
    config = glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5, coupling="additive", learn_top=False)
    guarded = Guarded(tmp_path, config)
    guarded.set(path, index, value)
    guarded.after(1)
    assert f"First non-finite value: {where}. (" in guarded.said[0]


def test_a_batch_that_is_bad_itself(tmp_path):
    """The NaN is in the last image, of the last of four parts."""

    def x(values):
        values[-1, 0, 0, 0] = np.nan
        return tf.constant(values)

    guarded = Guarded(tmp_path, x=x, accumulate_steps=4)
    guarded.after(1)
    assert "First non-finite value: the batch itself, before the first layer. (" in guarded.said[0]


def test_no_more_images_at_once_than_a_replica_has_in_training(tmp_path, monkeypatch):
    counts = []

    def counted(flow, x, *arguments, **named):
        counts.append(x.shape[0])
        return first_nonfinite(flow, x, *arguments, **named)

    monkeypatch.setattr(guard, "first_nonfinite", counted)
    Guarded(tmp_path, accumulate_steps=2, replicas=2).after(1)
    assert counts == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tf.errors.ResourceExhaustedError, "OOM when allocating tensor"),
        (tf.errors.InternalError, "Dst tensor is not initialized."),
    ],
)
def test_without_the_memory_to_look_for_it_the_run_goes_on(tmp_path, monkeypatch, kind, message):
    def without_memory(*_, **__):
        raise kind(None, None, message)

    monkeypatch.setattr(guard, "first_nonfinite", without_memory)
    guarded = Guarded(tmp_path)
    assert guarded.after(1) is False
    assert "First non-finite value: unknown, as there is not enough memory" in guarded.said[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RootOfZero(glow_tf.dequantization.Dequantizer):
    """Uniform noise whose density has a term that is 0 and has an infinite slope."""

    def parameters(self, shape, rng):
        return {"a": np.zeros(shape[-1])}

    def noise(self, images, tensors, seed, context=None):
        u = glow_tf.dequantization.random.uniform_like(images, seed)
        return self.within_bins(images, u, tf.zeros_like(u) + tf.sqrt(tensors["a"]))


def test_the_parameter_of_learned_noise_is_named(tmp_path):
    config = dataclasses.replace(helpers.TINY, dequantizer=RootOfZero(n_bits=5))
    guarded = Guarded(tmp_path, config)
    guarded.after(1, loss=5.0)
    assert "First non-finite value: dequantizer/a: its gradient. (" in guarded.said[0]


def test_a_classifier_is_no_layer_of_the_flow(tmp_path):
    """Every layer is sound, and the gradient norm is not the cause."""
    guarded = Guarded(tmp_path, helpers.LABELLED)
    guarded.set("classifier/kernel", (0, 0), np.nan)
    guarded.after(1)
    assert "classifier" in guarded.said[0]
    assert "overflows" not in guarded.said[0]


def test_a_norm_that_is_too_large_by_itself(tmp_path):
    guarded = Guarded(tmp_path)
    guarded.set("layers/02_scale/log_scale", (3,), 50.0)
    guarded.after(1, loss=1e20)
    assert "the loss is 1e+20" in guarded.said[0]
    assert "the norm of the whole gradient, which overflows" in guarded.said[0]


def test_several_in_a_row_lead_back_to_the_last_checkpoint(tmp_path):
    guarded = Guarded(tmp_path, max_skipped=3)
    parts = guarded.parts
    parts.save(1)
    saved = parts.save(2)
    step = int(parts.state.step)
    parts.advance()
    parts.optimizer.schedule.factor.assign(1.0)
    skipped = int(parts.state.skipped)
    # The best evaluation is one after the checkpoint.
    best = {"best_bits_per_dim": 1.5, "best_step": 7, "best_images": 10, "best_requested": 11}
    for name, value in best.items():
        getattr(parts.state, name).assign(value)

    assert [guarded.after(n) for n in (11, 12, 13)] == [False, False, True]
    assert int(parts.state.step) == step
    # The counts since then are kept, although the weights are not.
    assert guarded.counts() == [skipped + 3, 0, 1]
    assert guarded.factor() == 0.5
    for variable, value in zip(parts.flow.variables, saved, strict=False):
        np.testing.assert_array_equal(variable, value)
    # It is still that of the files in best/.
    assert {name: getattr(parts.state, name).numpy() for name in best} == best
    assert re.fullmatch(rf"Back to step {step} \(.*ckpt-2\), with 0.5 times the learning rate\.", guarded.said[-1])

    # A successful step in between restarts the count; the loop sets it.
    assert [guarded.after(n) for n in (21, 22)] == [False, False]
    parts.state.skipped_in_a_row.assign(0)
    assert [guarded.after(n) for n in (24, 25, 26)] == [False, False, True]
    assert guarded.counts() == [skipped + 8, 0, 2]
    assert guarded.factor() == 0.25


@pytest.mark.parametrize(("best_step", "since_best"), [(1, 2), (5, 0)])
def test_evaluations_after_the_checkpoint_are_counted_anew(tmp_path, best_step, since_best):
    """Two of the three without a better one were before the checkpoint of step 2, unless the best one was later."""
    guarded = Guarded(tmp_path, max_skipped=1)
    state = guarded.parts.state
    guarded.parts.save(1)
    state.since_best.assign(2)
    guarded.parts.save(2)
    state.since_best.assign(3)
    state.best_step.assign(best_step)
    assert guarded.after(7) is True
    assert (int(state.step), int(state.since_best)) == (2, since_best)


def test_a_checkpoint_that_is_damaged_is_named(tmp_path):
    guarded = Guarded(tmp_path, max_skipped=1)
    for step in (1, 2):
        guarded.parts.save(step)
    file = tmp_path / "checkpoints" / "ckpt-2.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:100])
    assert guarded.after(3) is True
    _, damaged, back = guarded.said
    assert "ckpt-2 is damaged" in damaged
    assert "ckpt-1)" in back


def test_after_so_many_returns_it_gives_up(tmp_path):
    guarded = Guarded(tmp_path, max_skipped=1, max_rollbacks=2)
    guarded.parts.checkpoints.save(0)
    guarded.set("layers/02_scale/log_scale", (3,), np.nan)
    assert guarded.after(5) is True
    assert guarded.after(5) is True
    guarded.set("layers/02_scale/log_scale", (3,), np.nan)
    with pytest.raises(DivergenceError) as error:
        guarded.after(5)
    message = str(error.value)
    assert "At step 5 loss or gradient were not finite 1 times in a row, after 2 returns to a checkpoint" in message
    assert "First non-finite value: level 1, scale: its output" in message
    assert "--learning_rate" in message and "\n" not in message
    assert message.endswith("--clip_norm or longer --warmup_steps may help."), "NICE has no --coupling"


def test_no_returns_allowed(tmp_path):
    guarded = Guarded(tmp_path, max_skipped=1, max_rollbacks=0)
    guarded.parts.checkpoints.save(0)
    with pytest.raises(DivergenceError, match="after 0 returns"):
        guarded.after(5)


def test_no_checkpoint_to_go_back_to(tmp_path):
    guarded = Guarded(tmp_path, max_skipped=2)
    assert guarded.after(1) is False
    with pytest.raises(DivergenceError, match="At step 2 .* 2 times in a row, and there is no checkpoint to go back"):
        guarded.after(2)


@pytest.mark.parametrize(
    ("permutation", "row", "singular"),
    [
        ("conv1x1_dense", None, False),
        ("conv1x1_dense", 0.0, True),
        ("conv1x1", None, False),
    ],
)
def test_a_singular_convolution_is_found(permutation, row, singular):
    flow = glow_tf.Flow(glow_tf.glow((4, 4, 3), K=2, L=1, width=4, permutation=permutation))
    if row is not None:
        (weight,) = (v for path, v in flow.named_variables().items() if path.endswith("conv1x1/weight"))
        numbers = weight.numpy()
        numbers[1, 3] = row
        weight.assign(numbers)
        # The error after which the check is made.
        with pytest.raises(tf.errors.InvalidArgumentError):
            flow.bits_per_dim(np.zeros([1, 4, 4, 3], np.uint8))
    assert has_singular_convolution(flow) == singular
