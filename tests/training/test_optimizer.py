"""Warm-up, Adamax, the moving averages, and their place in the weights' stead; by hand."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.training.config import TrainingConfig
from glow_tf.training.optimizer import LinearWarmup, averaged_weights, make_optimizer, steps_made


def make(variables, **fields):
    return make_optimizer(TrainingConfig(**fields), variables)


def variables():
    return [tf.Variable([1.0, -2.0, 3.0]), tf.Variable([[0.5]])]


def gradients(step):
    rng = np.random.default_rng(step)
    return [rng.normal(size=[3]).astype(np.float32), rng.normal(size=[1, 1]).astype(np.float32)]


@pytest.mark.parametrize(
    ("warmup_steps", "rates"),
    [(4, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]), (1, [1.0] * 3), (0, [1.0] * 3)],
)
def test_warmup(warmup_steps, rates):
    schedule = LinearWarmup(0.02, warmup_steps)
    np.testing.assert_allclose([schedule(step) for step in range(len(rates))], 0.02 * np.array(rates), rtol=1e-6)


def test_the_optimizer_follows_the_warmup():
    values = variables()
    optimizer = make(values, learning_rate=0.1, warmup_steps=2)
    rates = []
    for step in range(3):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([tf.constant(g) for g in gradients(step)], values)
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.1], rtol=1e-6)
    assert steps_made(optimizer) == 3


def adamax(values, steps, learning_rate, warmup_steps):
    """Kingma & Ba 2015, algorithm 2, with Keras's epsilon; yields the values after each step."""
    values = [np.asarray(value, np.float64) for value in values]
    m, u = [0.0, 0.0], [0.0, 0.0]
    for step in range(steps):
        rate = learning_rate * min(1, (step + 1) / max(1, warmup_steps))
        for i, g in enumerate(gradients(step)):
            g = g.astype(np.float64)
            m[i] = 0.9 * m[i] + 0.1 * g
            u[i] = np.maximum(0.999 * u[i], np.abs(g))
            values[i] = values[i] - rate / (1 - 0.9 ** (step + 1)) * m[i] / (u[i] + 1e-7)
        yield [value.copy() for value in values]


def adam(values, steps, learning_rate, warmup_steps):
    """Kingma & Ba 2015, algorithm 1."""
    values = [np.asarray(value, np.float64) for value in values]
    m, v = [0.0, 0.0], [0.0, 0.0]
    for step in range(steps):
        rate = learning_rate * min(1, (step + 1) / max(1, warmup_steps))
        for i, g in enumerate(gradients(step)):
            g = g.astype(np.float64)
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            m_hat, v_hat = m[i] / (1 - 0.9 ** (step + 1)), v[i] / (1 - 0.999 ** (step + 1))
            values[i] = values[i] - rate * m_hat / (np.sqrt(v_hat) + 1e-7)
        yield [value.copy() for value in values]


@pytest.mark.parametrize(("name", "by_hand"), [("adamax", adamax), ("adam", adam)])
def test_updates_by_hand(name, by_hand):
    values = variables()
    optimizer = make(values, optimizer=name, learning_rate=0.1, warmup_steps=2)
    for step, expected in enumerate(by_hand(variables(), 4, 0.1, 2)):
        optimizer.apply([tf.constant(g) for g in gradients(step)], values)
        for value, e in zip(values, expected, strict=True):
            np.testing.assert_allclose(value, e, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.25, 0.99])
def test_moving_averages_by_hand(decay):
    """average <- d * average + (1 - d) * weight, d = min(decay, t / (t + 9)): at first d = 0, 1/10, 2/11, 3/12."""
    values = variables()
    optimizer = make(values, ema_decay=decay, learning_rate=0.1, warmup_steps=0)
    expected = [0.0, 0.0]
    decays = [0, 1 / 10, 2 / 11, min(decay, 3 / 12), min(decay, 4 / 13)]
    for step, (d, weights) in enumerate(zip(decays, adamax(variables(), 5, 0.1, 0), strict=True)):
        optimizer.apply([tf.constant(g) for g in gradients(step)], values)
        expected = [d * e + (1 - d) * w for e, w in zip(expected, weights, strict=True)]
        for average, e in zip(optimizer.averages, expected, strict=True):
            np.testing.assert_allclose(average, e, rtol=1e-5, atol=1e-6)


def test_no_averages_without_decay():
    values = variables()
    optimizer = make(values, ema_decay=0.0)
    optimizer.apply([tf.constant(g) for g in gradients(0)], values)
    assert optimizer.averages == []
    before = [v.numpy() for v in values]
    with averaged_weights(optimizer, values):
        for value, b in zip(values, before, strict=True):
            np.testing.assert_array_equal(value, b)


class Stop(Exception):
    """Raised on purpose."""


@pytest.mark.parametrize("fails", [False, True])
def test_averaged_weights_swap_and_return(fails):
    values = variables()
    optimizer = make(values, ema_decay=0.5, learning_rate=0.1, warmup_steps=0)
    for step in range(3):
        optimizer.apply([tf.constant(g) for g in gradients(step)], values)
    before = [v.numpy() for v in values]
    average = [a.numpy() for a in optimizer.averages]
    assert not np.array_equal(before[0], average[0])
    try:
        with averaged_weights(optimizer, values):
            for value, a in zip(values, average, strict=True):
                np.testing.assert_array_equal(value, a)
            if fails:
                raise Stop
    except Stop:
        assert fails
    for value, b in zip(values, before, strict=True):
        np.testing.assert_array_equal(value, b)
    for a, b in zip(optimizer.averages, average, strict=True):
        np.testing.assert_array_equal(a, b)


def test_before_the_first_update_the_weights_stay():
    values = variables()
    with averaged_weights(make(values, ema_decay=0.5), values):
        np.testing.assert_array_equal(values[0], [1.0, -2.0, 3.0])
