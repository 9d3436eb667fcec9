"""XLA compiles training steps, evaluations, latents and samples: the default where there is a GPU."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.analysis.codec import Codec
from glow_tf.analysis.likelihood import Scorer, round_trips
from glow_tf.analysis.sampling import Sampler
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.evaluation import Evaluator
from glow_tf.training.loss import losses
from tests.marks import slow
from tests.models.flows import moved_flow
from tests.training import helpers


@pytest.mark.slow
@pytest.mark.parametrize("network_precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("permutation", ["conv1x1", "shuffle"])
def test_a_compiled_step_gives_the_same_gradients(permutation, network_precision):
    config = glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5, permutation=permutation)
    flow = glow_tf.Flow(config)
    flow.initialize(helpers.random_images(16, config))
    variables = list(flow.named_variables(trainable=True).values())

    def step(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses(flow, batch, network_precision=network_precision)["loss"])
        return loss, tape.gradient(loss, variables)

    batch = next(iter(helpers.batches(1, 4, config)))
    plain = tf.function(step, autograph=False)(batch)
    compiled = tf.function(step, autograph=False, jit_compile=True)(batch)
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-5)
    # Fused operations round a bfloat16 less often.
    tolerance = 1e-5 if network_precision == "float32" else 2e-2
    scale = max(float(tf.norm(gradient)) for gradient in plain[1])
    for a, b in zip(compiled[1], plain[1], strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * scale)


def state_of(run):
    return [v.numpy() for v in (*run.variables, *(v.value for v in run.optimizer.variables))]


@pytest.mark.parametrize("fields", [{}, slow({"optimizer": "adam", "clip_norm": 0.5, "ema_decay": 0.0})])
def test_steps_leave_the_same_state(fields):
    """Weights, moving averages, the optimizer's moments and counter."""
    compiled, plain = (helpers.Run(helpers.training(xla=xla, **fields), helpers.TINY, steps=4) for xla in (True, False))
    compiled(4), plain(4)
    for a, b in zip(state_of(compiled), state_of(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_call_that_only_compiles_changes_nothing():
    run = helpers.Run(helpers.training(xla=True), helpers.TINY, steps=4)
    before = state_of(run)
    run.train(run.iterator, tf.constant(2), tf.constant(False))
    for a, b in zip(state_of(run), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(run(1)["loss"])


@pytest.mark.slow
def test_two_replicas_do_what_one_does():
    one = helpers.Run(helpers.training(xla=True), helpers.TINY, steps=4)
    two = helpers.Run(helpers.training(xla=True), helpers.TINY, steps=4, strategy=helpers.two_replicas())
    values, expected = two(3), one(3)
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-4, err_msg=name)
    for variable, expected in zip(two.variables, one.weights(), strict=True):
        for copy in two.strategy.experimental_local_results(variable):
            np.testing.assert_allclose(copy, expected, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [helpers.TINY, helpers.LABELLED, glow_tf.real_nvp((8, 8, 3), L=1, width=4, blocks=1)],
)
@pytest.mark.slow
def test_likelihoods_latents_and_samples_are_the_same(config):
    """Also for batches that differ in size."""
    flow = moved_flow(config, seed=3)
    images = helpers.random_images(7, config)
    labels = np.arange(7, dtype=np.int32) % 3
    batches = [{"images": images[i : i + 4], "labels": labels[i : i + 4]} for i in (0, 4)]
    dataset = helpers.batches(1, 7, config).unbatch().batch(4)
    given = labels if config.conditional else None

    def results():
        latents = Codec(flow, 4).encode(images, given)
        evaluation = Evaluator(flow, helpers.one_device(), batch_size=4)(dataset)
        return {
            "likelihood": Scorer(flow)(batches).bits_per_dim,
            "round trip": round_trips(flow, batches) < 1e-4,
            "latents": latents,
            "images": Codec(flow, 4).decode(latents, given).astype(np.float32),
            "samples": Sampler(flow, 5, seed=0, batch_size=4)().astype(np.float32),
            "evaluation": np.array([evaluation.mean, evaluation.standard_error, evaluation.images]),
        }

    plain = results()
    flow.runtime = Runtime(xla=True)
    for name, value in results().items():
        # A value next to the edge of a bin may fall to either side.
        atol = 2 ** (8 - config.n_bits) if name in ("images", "samples") else 1e-5
        np.testing.assert_allclose(value, plain[name], rtol=1e-4, atol=atol, err_msg=name)


def test_labels_out_of_range_are_refused():
    """XLA drops the checks that a graph has."""
    config = glow_tf.glow((4, 4, 3), K=1, L=1, width=4, num_classes=3)
    flow = glow_tf.Flow(config, runtime=Runtime(xla=True))
    images, labels = helpers.random_images(2, config), np.array([0, 3])
    for function in (
        lambda: Codec(flow).encode(images, labels),
        lambda: Scorer(flow)([{"images": images, "labels": labels}]),
        lambda: Sampler(flow, 2, labels=labels)(),
    ):
        with pytest.raises(ValueError, match=r"Labels must lie in 0 \.\. 2"):
            function()


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["reversible", "stored"])
def test_xla_knows_how_often_loops_run(gradient):
    """A loop whose trip count XLA does not know asks the GPU after every iteration whether to go on."""
    config = glow_tf.glow((4, 4, 3), K=5, L=1, width=4, gradient=gradient, permutation="reverse")
    flow = glow_tf.Flow(config)

    def log_prob(x):
        return flow.distribution().log_prob(x)

    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(log_prob(x))
        return tape.gradient(loss, list(flow.trainable_variables), unconnected_gradients="zero")

    function = tf.function(gradients if gradient == "reversible" else log_prob, jit_compile=True, autograph=False)
    program = function.experimental_get_compiler_ir(tf.zeros([2, 4, 4, 3]))(stage="optimized_hlo")
    loops = [line for line in program.splitlines() if " while(" in line]
    assert loops
    assert all('"known_trip_count":{"n":"5"}' in line for line in loops)
