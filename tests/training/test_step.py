"""The training step: what it updates, clips and reports, on one device and on two."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.commands.timing import training_step
from glow_tf.training.loss import losses
from glow_tf.training.step import make_train_function
from tests.marks import slow
from tests.training import helpers

# Weights and learning rate decay, and gradients are clipped.
DECAYING = {"clip_norm": 0.5, "optimizer": "adamw", "weight_decay": 0.3, "lr_schedule": "cosine"}


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_steps_in_one_call_equal_steps_one_by_one():
    together, apart = (helpers.Run(helpers.training(), helpers.TINY) for _ in range(2))
    means = together(4)
    single = [apart(1) for _ in range(4)]
    assert_equal(together.weights(), apart.weights())
    assert_equal(together.optimizer.averages, apart.optimizer.averages)
    for name, mean in means.items():
        np.testing.assert_allclose(mean, np.mean([values[name] for values in single]), rtol=1e-6)
    assert int(together.optimizer.iterations) == 4


def test_another_number_of_steps_is_not_compiled_anew():
    run = helpers.Run(helpers.training(), helpers.TINY)
    run(1), run(2)
    assert run.train.experimental_get_tracing_count() == 1


def test_the_loss_falls():
    run = helpers.Run(helpers.training(), helpers.TINY, steps=40)
    first = run(1)["loss"]
    run(38)
    assert run(1)["loss"] < first - 0.1


def test_networks_in_bfloat16_learn_too():
    """Metrics and weights are float32, and the metrics are near those of an all-float32 run."""
    mixed, plain = (
        helpers.Run(helpers.training(network_precision=precision), helpers.TINY, steps=40)
        for precision in ("bfloat16", "float32")
    )
    # At first every network outputs zero, whatever its precision.
    first = mixed(1)["loss"]
    assert first == plain(1)["loss"]
    values, expected = mixed(4), plain(4)
    assert 0 < abs(values["bits_per_dim"] - expected["bits_per_dim"]) < 0.01
    np.testing.assert_allclose(values["gradient_norm"], expected["gradient_norm"], rtol=0.02)
    mixed(34)
    last = mixed.train(mixed.iterator, tf.constant(1))
    assert float(last["loss"][0]) < first - 0.1
    assert {value.dtype for name, value in last.items() if name != "finite"} == {tf.float32}
    assert {weight.dtype for weight in mixed.weights()} == {np.dtype(np.float32)}


@pytest.mark.slow
def test_compiled_by_xla_a_step_is_the_same():
    compiled, plain = (
        helpers.Run(helpers.training(xla=xla, **DECAYING), helpers.TINY, steps=4) for xla in (True, False)
    )
    values, expected = compiled(3), plain(3)
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-4, err_msg=name)
    (function,) = compiled.train._list_all_concrete_functions()
    library = function.graph.as_graph_def().library.function
    assert [f.signature.name for f in library if f.attr["_XlaMustCompile"].b]


def test_metrics_are_those_of_the_batch_before_its_update():
    run = helpers.Run(helpers.training(), helpers.LABELLED)
    batch = next(iter(helpers.batches(8, 8, helpers.LABELLED)))
    with tf.GradientTape() as tape:
        parts = losses(run.flow, batch)
        loss = tf.reduce_mean(parts["loss"])
    norm = tf.linalg.global_norm(tape.gradient(loss, run.variables, unconnected_gradients="zero"))
    values = run(1)
    assert values.keys() == {"loss", "bits_per_dim", "gradient_norm", "label_bits", "label_error", "finite"}
    for name, part in parts.items():
        np.testing.assert_allclose(values[name], np.mean(part), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(values["gradient_norm"], norm, rtol=1e-4)


@pytest.mark.slow
def test_the_classifier_learns_only_with_a_weight():
    for weight in (0.0, 1.0):
        run = helpers.Run(helpers.training(label_loss_weight=weight), helpers.LABELLED)
        values = run(1)
        np.testing.assert_allclose(values["loss"], values["bits_per_dim"] + weight * values["label_bits"], rtol=1e-5)
        assert run.flow.classifier["kernel"].numpy().any() == (weight > 0)


def test_clipping_scales_the_whole_gradient():
    def step(clip_norm):
        config = helpers.training(clip_norm=clip_norm)
        run = helpers.Run(config, helpers.TINY)
        given = [tf.Variable(tf.zeros_like(v)) for v in run.variables]

        class Optimizer:
            """An optimizer that keeps the gradients."""

            def apply(self, gradients, variables):
                for variable, gradient in zip(given, gradients, strict=True):
                    variable.assign(gradient)

        train = make_train_function(run.flow, Optimizer(), run.strategy, config)
        norm = float(train(run.iterator, tf.constant(1))["gradient_norm"][0])
        return [v.numpy() for v in given], norm

    gradients, norm = step(0.0)
    np.testing.assert_allclose(norm, np.sqrt(sum((g.astype(float) ** 2).sum() for g in gradients)), rtol=1e-5)
    clipped, reported = step(norm / 8)
    assert reported == norm
    for g, c in zip(gradients, clipped, strict=True):
        np.testing.assert_allclose(c, g / 8, rtol=1e-5, atol=1e-9)
    loose, reported = step(norm * 2)
    assert reported == norm
    assert_equal(loose, gradients)


@pytest.mark.slow
def test_clipping_changes_what_adamax_does_only_by_its_epsilon():
    """Adamax does not depend on the gradient's scale: the direction of an update is the same however tight the clip."""
    updates = []
    for clip_norm in (0.0, 0.1):
        run = helpers.Run(helpers.training(clip_norm=clip_norm), helpers.TINY)
        before = run.weights()
        run(1)
        updates.append(np.concatenate([(a - b).ravel() for a, b in zip(run.weights(), before, strict=True)]))
    cosine = updates[0] @ updates[1] / np.linalg.norm(updates[0]) / np.linalg.norm(updates[1])
    assert cosine > 0.99


def state(run):
    """Returns all numbers of a run: weights, averages, and the optimizer's own, including its count of updates."""
    return [*run.weights(), *(v.numpy() for v in run.optimizer.variables)]


def assert_same_updates(a, b, tolerance):
    """Compares the optimizer's own numbers too: unlike Adamax's updates, they have the gradient's scale."""
    for x, y in zip(state(a), state(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def not_accumulated():
    """Three steps of a model with a classifier, in float64."""
    run = helpers.Run(helpers.training(label_loss_weight=0.5), helpers.LABELLED, dtype=tf.float64)
    return run, run(3)


@pytest.mark.parametrize(
    ("count", "at_once"),
    [(2, 1), slow((4, 1)), slow((1, 2)), slow((2, 2)), slow((1, 3))],
    ids=["2 parts", "4 parts", "2 at once", "2 of 4 at once", "3 of 8 images at once"],
)
def test_a_batch_in_parts_gives_the_same_updates(not_accumulated, count, at_once):
    expected, values = not_accumulated
    config = helpers.training(label_loss_weight=0.5, accumulate_steps=count)
    run = helpers.Run(config, helpers.LABELLED, dtype=tf.float64, shards=at_once)
    for name, value in run(3).items():
        np.testing.assert_allclose(value, values[name], rtol=1e-11, err_msg=name)
    assert_same_updates(run, expected, 1e-9)


@pytest.fixture(scope="module")
def few_labels():
    """Three steps in float64 where one image in four has a label."""
    config = helpers.training(label_loss_weight=0.5)
    run = helpers.Run(config, helpers.GUESSING, dtype=tf.float64, labelled_share=0.25)
    return run, run(3)


@pytest.mark.parametrize("how", ["two parts", "two replicas"])
def test_the_loss_of_few_labels_is_the_same_in_parts_and_on_replicas(few_labels, how):
    """However unevenly the labels are distributed."""
    expected, values = few_labels
    config = helpers.training(label_loss_weight=0.5, accumulate_steps=2 if how == "two parts" else 1)
    strategy = helpers.two_replicas() if how == "two replicas" else None
    run = helpers.Run(config, helpers.GUESSING, dtype=tf.float64, labelled_share=0.25, strategy=strategy)
    for name, value in run(3).items():
        np.testing.assert_allclose(value, values[name], rtol=1e-9, err_msg=name)
    assert_same_updates(run, expected, 1e-7)


@pytest.mark.slow
def test_a_large_model_in_parts():
    """TensorFlow's graph optimizer rewrites sums of tensors that it considers large: 256 MB."""
    config = glow_tf.glow((8, 8, 3), K=4, L=1, width=1024)
    assert run_of_noise(config, accumulate_steps=2) == pytest.approx(run_of_noise(config), rel=1e-5)


def run_of_noise(config, **fields):
    flow, step = training_step(config, helpers.training(batch_size=2, **fields), helpers.one_device())
    for _ in range(3):
        step()
    return float(tf.linalg.global_norm(flow.trainable_variables))


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        slow((helpers.LABELLED, {"ema_decay": 0.0, "label_loss_weight": 0.5})),
        slow((helpers.TINY, {"clip_norm": 0.5, "ema_decay": 0.5, "accumulate_steps": 2})),
        (helpers.TINY, {**DECAYING, "ema_decay": 0.5, "accumulate_steps": 2}),
    ],
)
def test_two_replicas_do_what_one_does(model, fields):
    """In float64, as optimizers divide by the gradient's size, which makes a full step of a rounding error at zero."""
    config = helpers.training(**fields)
    one = helpers.Run(config, model, dtype=tf.float64)
    two = helpers.Run(config, model, dtype=tf.float64, strategy=helpers.two_replicas())
    for _ in range(3):
        a, b = one(2), two(2)
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-9, err_msg=name)
    assert_same_updates(one, two, 1e-7)
    assert bool(two.optimizer.averages) == (config.ema_decay > 0)
    assert int(two.optimizer.iterations.value.read_value()) == 6
    for variable in two.variables:
        first, second = two.strategy.experimental_local_results(variable)
        np.testing.assert_array_equal(first, second)


def poison(run, training, bad, config=helpers.TINY):
    """Puts a NaN into the first image of the batches `bad` of a run."""

    def one_nan(number, batch):
        x = batch["x"]
        nan = tf.one_hot(0, tf.size(x), on_value=np.nan, off_value=0.0, dtype=x.dtype)
        wrong = tf.reduce_any(number == tf.constant(bad, tf.int64))
        return {**batch, "x": tf.where(wrong, x + tf.reshape(nan, tf.shape(x)), x)}

    data = helpers.batches(8, training.batch_size, config).enumerate().map(one_nan)
    run.iterator = iter(run.strategy.experimental_distribute_dataset(data))


@pytest.fixture(scope="module", params=[1, slow(2)], ids=["one replica", "two replicas"])
def run_and_training(request):
    training = helpers.training(clip_norm=0.5, ema_decay=0.5)
    strategy = helpers.two_replicas() if request.param == 2 else None
    return helpers.Run(training, helpers.TINY, strategy=strategy), training


def test_a_batch_that_is_not_finite_changes_nothing(run_and_training):
    """The NaN is in one image, on one replica."""
    run, training = run_and_training
    poison(run, training, bad=[2, 3])
    made = run.train(run.iterator, tf.constant(2))
    assert made["finite"].numpy().tolist() == [True, True]
    before = state(run)

    made = run.train(run.iterator, tf.constant(5))
    # It ends the call: the next batch, also bad, is left to the next call.
    assert made["finite"].numpy().tolist() == [False]
    assert np.isnan(made["loss"].numpy()).all() and {len(v) for v in made.values()} == {1}
    assert_equal(state(run), before)
    assert run.train(run.iterator, tf.constant(1))["finite"].numpy().tolist() == [False]
    assert_equal(state(run), before)
    for variable in run.variables:
        for copy in run.strategy.experimental_local_results(variable):
            np.testing.assert_array_equal(copy, variable)

    made = run.train(run.iterator, tf.constant(4))
    assert made["finite"].numpy().tolist() == [True] * 4
    assert np.isfinite(made["loss"]).all()
    assert all(np.isfinite(value).all() for value in state(run))
    assert any(np.any(a != b) for a, b in zip(state(run), before, strict=True))


def test_good_steps_before_a_bad_one_count(run_and_training):
    run, training = run_and_training
    updates = int(run.optimizer.iterations.value.read_value())
    poison(run, training, bad=[3])
    made = run.train(run.iterator, tf.constant(8))
    assert made["finite"].numpy().tolist() == [True, True, True, False]
    assert np.isfinite(made["loss"].numpy()).tolist() == [True, True, True, False]
    assert int(run.optimizer.iterations.value.read_value()) == updates + 3


def test_a_gradient_too_large_for_a_float_changes_nothing(run_and_training):
    """With a scale of exp(50), the loss is finite, and the square of the gradient is not."""
    run, training = run_and_training
    poison(run, training, bad=[])
    (scale,) = (v for v in run.variables if "log_scale" in v.name)
    value = scale.numpy()
    scale.assign(np.concatenate([[50.0], value[1:]]).astype(np.float32))
    before = state(run)
    made = run.train(run.iterator, tf.constant(3))
    assert made["finite"].numpy().tolist() == [False]
    assert np.isfinite(made["loss"]).all() and np.isinf(made["gradient_norm"]).all()
    assert_equal(state(run), before)
    scale.assign(value)
    assert run.train(run.iterator, tf.constant(1))["finite"].numpy().tolist() == [True]
