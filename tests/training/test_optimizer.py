"""Schedules, Adamax, Adam, AdamW, moving averages and their swap with the weights, checked by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.layers import Steps
from glow_tf.networks import Resnet
from glow_tf.training.config import TrainingConfig
from glow_tf.training.optimizer import LinearWarmup, averaged_weights, make_optimizer, make_schedule, steps_made
from tests.training import helpers


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


@pytest.mark.parametrize(
    ("lr_schedule", "warmup_steps", "rates"),
    [
        ("constant", 2, [0.5, 1, 1, 1, 1, 1, 1]),
        ("linear", 2, [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        ("linear", 0, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]),
        ("cosine", 2, [0.5, 1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0, 0]),
        ("cosine", 3, [1 / 3, 2 / 3, 1, 1, 0.75, 0.25, 0]),
    ],
)
def test_schedules_of_six_steps(lr_schedule, warmup_steps, rates):
    """The rate is full after the warm-up, and 0 once the last step, number 5, is made."""
    config = TrainingConfig(steps=6, warmup_steps=warmup_steps, learning_rate=0.02, lr_schedule=lr_schedule)
    schedule = make_schedule(config)
    found = [float(schedule(tf.constant(step, tf.int64))) for step in range(len(rates))]
    np.testing.assert_allclose(found, 0.02 * np.array(rates), rtol=1e-5, atol=1e-8)
    schedule.factor.assign(0.5)
    np.testing.assert_allclose(schedule(3), found[3] / 2, rtol=1e-6)


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


FAMILIES = {"adamax": keras.optimizers.Adamax, "adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}


@pytest.mark.parametrize("compiled", [False, True], ids=["", "on a replica, by XLA"])
@pytest.mark.parametrize("name", FAMILIES)
def test_updates_of_keras(name, compiled):
    """With non-default moments and epsilon, which matter for gradients of this size."""
    values, theirs = variables(), variables()
    fields = {"beta1": 0.8, "beta2": 0.95, "epsilon": 0.1}
    decay = {"weight_decay": 0.3} if name == "adamw" else {}
    config = TrainingConfig(
        optimizer=name, learning_rate=0.1, warmup_steps=2, steps=6, lr_schedule="cosine", **fields, **decay
    )
    optimizer = make_optimizer(config, values)
    reference = FAMILIES[name](make_schedule(config), beta_1=0.8, beta_2=0.95, epsilon=0.1, **decay)

    def apply(given):
        if compiled:
            optimizer.apply_on_replica(given, values, tf.constant(True))
        else:
            optimizer.apply(given, values)

    apply = tf.function(apply, jit_compile=compiled, autograph=False)
    for step in range(5):
        given = [tf.constant(g) for g in gradients(step)]
        apply(given)
        reference.apply(given, theirs)
        for value, e in zip(values, theirs, strict=True):
            np.testing.assert_allclose(value, e, rtol=1e-5, atol=1e-6)


def test_adamw_takes_nothing_off_what_does_not_decay():
    decays, stays = tf.Variable([1.0, -2.0]), tf.Variable([1.0, -2.0])
    config = TrainingConfig(optimizer="adamw", weight_decay=0.5, learning_rate=0.1, warmup_steps=0)
    optimizer = make_optimizer(config, [decays, stays], decayed=[decays])
    for _ in range(2):
        optimizer.apply([tf.zeros([2]), tf.zeros([2])], [decays, stays])
    np.testing.assert_allclose(decays, np.array([1.0, -2.0]) * 0.95**2, rtol=1e-6)
    np.testing.assert_array_equal(stays, [1.0, -2.0])


def decaying(config):
    """Returns the kinds of variables that weight decay applies to in a model: their paths without layer names."""
    flow = glow_tf.Flow(config)
    decayed = {id(variable) for variable in flow.decayed_variables()}
    named = flow.named_variables(trainable=True)
    assert len(decayed) < len(named)
    return {path.split("/", 2)[-1] for path, variable in named.items() if id(variable) in decayed}


def test_kernels_of_networks_decay():
    glow = glow_tf.glow((8, 8, 3), K=2, L=2, width=4, num_classes=3, classifier=True, conditional_couplings=True)
    assert decaying(glow) == {f"network/{name}/kernel" for name in ("conv1", "conv2", "conv3")}
    assert decaying(helpers.TINY) == {"network/dense0/kernel", "network/leave/kernel"}


@pytest.mark.parametrize(
    ("config", "kernels"),
    [
        (
            glow_tf.jet((4, 4, 3), K=1, width=4, blocks=1, patch_size=2, num_classes=3, conditional_couplings=True),
            {"network/enter/kernel", "network/leave/kernel"},
        ),
        # Its networks, and the features of its dequantization, have attention.
        (
            glow_tf.flow_plus_plus((4, 4, 3), ((0, 1),), width=4, blocks=1, variant="imagenet32"),
            {"network/enter/kernel", "network/leave/kernel", "enter/kernel", "block7/attention/kernel"},
        ),
    ],
    ids=["jet", "flow_plus_plus"],
)
def test_neither_position_embeddings_nor_biases_of_labels_decay(config, kernels):
    decayed = decaying(config)
    assert kernels <= decayed and all(path.endswith("/kernel") for path in decayed)
    assert not any("label" in path for path in decayed)
    positions = [path for path in glow_tf.Flow(config).named_variables() if path.endswith("position")]
    assert len(positions) == (3 if config.name == "flow_plus_plus" else 1)


def test_where_weights_are_normalised_their_magnitudes_decay():
    """Directions do not decay: shrinking them would change nothing but the size of steps."""
    flow = glow_tf.ModelConfig(
        name="m", image_shape=(8, 8, 4), layers=(Steps(depth=2, network=Resnet(width=4, blocks=1)),)
    )
    block = {f"network/block0/{name}/magnitude" for name in ("conv1", "conv2")}
    assert decaying(flow) == {"network/enter/magnitude", "network/leave/magnitude"} | block


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
