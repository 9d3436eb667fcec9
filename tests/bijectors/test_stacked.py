import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf.bijectors import ActNorm, FlowStep, Stack
from tests.bijectors import examples, registry
from tests.tolerances import assert_close, assert_gradient_close

CASE = next(case for case in registry.CASES if case.name == "Stack-reversible")


def one_by_one(parameters):
    """The same steps in sequence, without a loop."""
    return FlowStep(
        [
            examples.flow_step({name: tensor[k] for name, tensor in parameters.items()}, swap=k % 2)
            for k in range(examples.DEPTH)
        ]
    )


@pytest.mark.parametrize("gradient", ["reversible", "stored", "none"])
def test_a_stack_is_its_steps_in_order(gradient):
    parameters = CASE.parameters()
    x, y = CASE.points()
    stack, steps = examples.stack(parameters, gradient=gradient), one_by_one(parameters)
    for direction, point in (("forward_and_log_det", x), ("inverse_and_log_det", y)):
        for actual, expected in zip(getattr(stack, direction)(point), getattr(steps, direction)(point), strict=True):
            assert_close(actual, expected)


@pytest.mark.parametrize("gradient", ["reversible", "stored", "none"])
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_gradients_are_those_of_the_steps_without_a_loop(gradient, direction):
    parameters = CASE.parameters()
    x, _ = CASE.points()
    grads = []
    for build in (lambda p: examples.stack(p, gradient=gradient), one_by_one):
        with tf.GradientTape() as tape:
            tape.watch([parameters, x])
            y, log_det = getattr(build(parameters), direction)(x)
            loss = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(log_det**2)
        grads.append(tape.gradient(loss, {**parameters, "x": x}))
    for name, expected in grads[1].items():
        # The gradient of slices may be `tf.IndexedSlices`.
        assert_gradient_close(tf.convert_to_tensor(grads[0][name]), expected, message=name)


@hypothesis.given(depth=st.integers(1, 5), seed=st.integers(0, 9))
def test_depth(depth, seed):
    rng = np.random.default_rng(seed)
    bias, log_scale = rng.standard_normal([2, depth, 3])
    stack = Stack(
        lambda t, c: ActNorm(t["bias"], t["log_scale"]),
        {"bias": tf.constant(bias), "log_scale": tf.constant(log_scale)},
        depth=depth,
    )
    x = y = rng.standard_normal([2, 2, 1, 3])
    for k in range(depth):
        y = (y + bias[k]) * np.exp(log_scale[k])
    assert_close(stack.forward(x), y)
    assert_close(stack.inverse(tf.constant(y)), x)
    assert_close(stack.forward_log_det_jacobian(tf.constant(x)), np.full(2, 2 * log_scale.sum()))


def test_reversible_gradient_of_a_tensor_no_step_reads_is_zero():
    used, unused = tf.zeros([2, 3], tf.float64), tf.zeros([2, 3], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([used, unused])
        stack = Stack(lambda t, c: ActNorm(t[0], t[0]), [used, unused], depth=2)
        loss = tf.reduce_sum(stack.forward(tf.ones([1, 1, 1, 3], tf.float64)))
    grads = tape.gradient(loss, [used, unused])
    assert np.abs(grads[0]).min() > 0
    np.testing.assert_array_equal(grads[1], np.zeros([2, 3]))


def test_the_gradient_survives_a_tape_that_watches_one_parameter():
    parameters = CASE.parameters()
    x, _ = CASE.points()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parameters["bias"])
        y, log_det = examples.stack(parameters).forward_and_log_det(x)
    grad = tape.gradient(log_det, parameters["bias"])
    assert grad.shape == parameters["bias"].shape


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="gradient='some' is not one of 'reversible', 'stored', 'none'"):
        Stack(lambda t, c: None, tf.zeros([2, 3]), depth=2, gradient="some")
    with pytest.raises(ValueError, match=r"leading axis of depth=3; shapes found: \['\(2, 3\)'\]"):
        Stack(lambda t, c: None, tf.zeros([2, 3]), depth=3)
    with pytest.raises(ValueError, match="leading axis of depth=2"):
        Stack(lambda t, c: None, tf.zeros([2, 3]), tf.constant(1), depth=2)
