"""The training step: what it updates, clips and reports, on one device and on two."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training.loss import losses
from glow_tf.training.step import make_train_function
from tests.training import helpers


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_steps_in_one_call_equal_steps_one_by_one():
    together, apart = helpers.Run(helpers.training()), helpers.Run(helpers.training())
    means = together(4)
    single = [apart(1) for _ in range(4)]
    assert_equal(together.weights(), apart.weights())
    assert_equal(together.optimizer.averages, apart.optimizer.averages)
    for name, mean in means.items():
        np.testing.assert_allclose(mean, np.mean([values[name] for values in single]), rtol=1e-6)
    assert int(together.optimizer.iterations) == 4


def test_another_number_of_steps_is_not_compiled_anew():
    run = helpers.Run(helpers.training())
    run(1), run(2)
    assert run.train.experimental_get_tracing_count() == 1


def test_the_loss_falls():
    run = helpers.Run(helpers.training(), steps=40)
    first = run(1)["loss"]
    run(38)
    assert run(1)["loss"] < first - 0.1


def test_metrics_are_those_of_the_batch_before_its_update():
    run = helpers.Run(helpers.training(), helpers.LABELLED)
    batch = next(iter(helpers.batches(8, 8, helpers.LABELLED)))
    with tf.GradientTape() as tape:
        parts = losses(run.flow, batch["x"], batch["labels"], 0.0)
        loss = tf.reduce_mean(parts["loss"])
    norm = tf.linalg.global_norm(tape.gradient(loss, run.variables, unconnected_gradients="zero"))
    values = run(1)
    assert values.keys() == {"loss", "bits_per_dim", "gradient_norm", "label_bits", "label_error"}
    for name, part in parts.items():
        np.testing.assert_allclose(values[name], np.mean(part), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(values["gradient_norm"], norm, rtol=1e-4)


def test_the_classifier_learns_only_with_a_weight():
    for weight in (0.0, 1.0):
        run = helpers.Run(helpers.training(label_loss_weight=weight), helpers.LABELLED)
        values = run(1)
        np.testing.assert_allclose(values["loss"], values["bits_per_dim"] + weight * values["label_bits"], rtol=1e-5)
        assert run.flow.classifier["kernel"].numpy().any() == (weight > 0)


def test_clipping_scales_the_whole_gradient():
    def step(clip_norm):
        config = helpers.training(clip_norm=clip_norm)
        run = helpers.Run(config)
        given = [tf.Variable(tf.zeros_like(v)) for v in run.variables]

        class Optimizer:
            """Keeps the gradients."""

            def apply(self, gradients, variables):
                for variable, gradient in zip(given, gradients, strict=True):
                    variable.assign(gradient)

        train = make_train_function(run.flow, Optimizer(), run.strategy, config)
        norm = float(train(run.iterator, tf.constant(1))["gradient_norm"])
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


def test_clipping_changes_what_adamax_does_only_by_its_epsilon():
    """Adamax does not depend on the gradient's scale: the direction of an update is the same however tight the clip."""
    updates = []
    for clip_norm in (0.0, 0.1):
        run = helpers.Run(helpers.training(clip_norm=clip_norm))
        before = run.weights()
        run(1)
        updates.append(np.concatenate([(a - b).ravel() for a, b in zip(run.weights(), before, strict=True)]))
    cosine = updates[0] @ updates[1] / np.linalg.norm(updates[0]) / np.linalg.norm(updates[1])
    assert cosine > 0.99


@pytest.mark.parametrize("fields", [{"ema_decay": 0.0}, {"clip_norm": 0.5, "ema_decay": 0.5}])
def test_two_replicas_do_what_one_does(fields):
    """In float64: Adamax divides by the gradient's size, and thereby makes of a rounding of nought a full step."""
    config = helpers.training(**fields)
    one = helpers.Run(config, dtype=tf.float64)
    two = helpers.Run(config, dtype=tf.float64, strategy=helpers.two_replicas())
    for _ in range(3):
        a, b = one(2), two(2)
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-9, err_msg=name)
    for x, y in zip(one.weights(), two.weights(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9)
    assert bool(two.optimizer.averages) == (config.ema_decay > 0)
    for x, y in zip(one.optimizer.averages, two.optimizer.averages, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9)
    assert int(two.optimizer.iterations.value.read_value()) == 6
    for variable in two.variables:
        first, second = two.strategy.experimental_local_results(variable)
        np.testing.assert_array_equal(first, second)
