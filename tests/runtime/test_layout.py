"""On a GPU, TensorFlow changes the layout of convolutions; this must not delay the entry of a loop.

TensorFlow never leaves a nested loop that it enters through a transposition: training hung.
"""

import functools
import threading

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.analysis.codec import Codec
from glow_tf.analysis.likelihood import Scorer, round_trips
from glow_tf.analysis.sampling import Sampler
from glow_tf.models.likelihood import with_noise
from glow_tf.runtime import devices
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.evaluation import Evaluator
from tests.marks import mostly_slow, slow
from tests.runtime import virtual_gpu
from tests.training import helpers

GLOW = functools.partial(glow_tf.glow, (8, 8, 3), K=2, L=2, width=8, n_bits=5)
MODELS = {
    "glow": GLOW(),
    "one level": GLOW(L=1),
    "stored": GLOW(gradient="stored"),
    "dense": GLOW(permutation="conv1x1_dense"),
    "shuffle": GLOW(permutation="shuffle", coupling="additive"),
    "mixture_logistic": GLOW(coupling="mixture_logistic"),
    "spline": GLOW(coupling="spline"),
    "labels": GLOW(permutation="reverse", num_classes=3, classifier=True),
    "real_nvp": glow_tf.real_nvp((8, 8, 3), L=1, width=4, blocks=1),
    "real_nvp stored": glow_tf.real_nvp((8, 8, 3), L=1, width=4, blocks=1, gradient="stored"),
    "nice": glow_tf.nice((4, 4, 3), K=2, width=8, blocks=1),
    "variational": GLOW(L=1, dequantizer="variational"),
    "flow_plus_plus": glow_tf.flow_plus_plus((8, 8, 3), ((0, 2), (2, 0)), width=8, blocks=1),
    "jet": glow_tf.jet((8, 8, 3), K=6, width=8, blocks=1, patch_size=2, dropout=0.1),
}
# Models without convolutions.
PRODUCTS = ("nice", "jet")
QUICK = ["one level"]
TRAINING = {
    "plain": {},
    "in parts": {"accumulate_steps": 2},
    "bfloat16": {"network_precision": "bfloat16"},
    "tf32": {"network_precision": "tf32"},
}
STRATEGIES = {"one_device": helpers.one_device, "mirrored": lambda: tf.distribute.MirroredStrategy(["CPU:0"])}


class Batches:
    """An iterator without operations, as input pipelines stay on the host."""

    def __init__(self, config, size=4):
        batch = {"images": tf.zeros([size, *config.image_shape], tf.uint8), "labels": tf.zeros([size], tf.int32)}
        self._batch = with_noise(batch, config, tf.constant([0, 1]))

    def __next__(self):
        return self._batch


def train_step(config, strategy, **fields):
    with devices.made_for("GPU"):
        run = helpers.Run(helpers.training(batch_size=4, **fields), config, strategy=strategy, steps=1)
        return run.train, (Batches(config), tf.constant(2), tf.constant(True))


def functions(config):
    """Returns the other computations on images, as functions to call."""
    flow = glow_tf.Flow(config, runtime=Runtime())
    images = helpers.random_images(4, config)
    labels = np.zeros([4], np.int32)
    batches = [{"images": images, "labels": labels}]
    dequantized = helpers.batches(1, 4, config)
    codec = Codec(flow)
    latents = np.zeros([4, config.dimensions], np.float32)
    given = labels if config.conditional else None
    return {
        "evaluation": lambda: Evaluator(flow, helpers.one_device())(dequantized),
        "likelihood": lambda: Scorer(flow)(batches),
        "encode": lambda: codec.encode(images, given),
        "decode": lambda: codec.decode(latents, given),
        "samples": Sampler(flow, 4, seed=0),
        "round trip": lambda: round_trips(flow, batches),
        "features": lambda: tf.function(flow.features, autograph=False)(images, given),
    }


def check(graphs, *, convolves=True):
    graphs = [graph for graph in graphs if virtual_gpu.loops(graph)]
    assert graphs
    changed = [virtual_gpu.laid_out(graph, architecture) for graph in graphs for architecture in ("7.5", "9.0")]
    # Otherwise the optimizer found nothing to do, and the test shows nothing.
    assert not convolves or any(virtual_gpu.transposed(graph) for graph in changed)
    assert not [loop for graph in changed for loop in virtual_gpu.delayed_loops(graph)]


@pytest.mark.parametrize(
    ("model", "kind", "strategy"),
    [
        *mostly_slow(
            [(model, "plain", "one_device") for model in MODELS],
            [("one level", "plain", "one_device"), ("nice", "plain", "one_device")],
        ),
        *(slow((model, "in parts", "mirrored")) for model in ("glow", "stored")),
        *(slow(("glow", kind, "one_device")) for kind in TRAINING if kind != "plain"),
    ],
)
def test_training(model, kind, strategy):
    train, arguments = train_step(MODELS[model], STRATEGIES[strategy](), **TRAINING[kind])
    with devices.made_for("GPU"):
        graphs = virtual_gpu.lowered_graphs(lambda: train(*arguments))
    # In nested loops the optimizer gives up if the operands of a product are concatenated, as in attention.
    check(
        graphs, convolves=model not in (*PRODUCTS, "flow_plus_plus") and (kind, strategy) != ("in parts", "one_device")
    )


@pytest.mark.parametrize("model", mostly_slow(["glow", "stored", "labels", "real_nvp", "variational", *QUICK], QUICK))
def test_training_ends_on_two_devices(model):
    """The graph for a GPU runs to its end, and returns all outputs, which are finite."""
    train, arguments = train_step(MODELS[model], helpers.one_device())
    with devices.made_for("GPU"):
        (graph,) = (g for g in virtual_gpu.lowered_graphs(lambda: train(*arguments)) if virtual_gpu.loops(g))
        function = train.get_concrete_function(*arguments)
    found = []
    # In a daemon thread, which is abandoned if it does not end.
    inputs = [*arguments[1:], *function.captured_inputs]
    run = threading.Thread(
        target=lambda: found.extend(virtual_gpu.run_on_two_devices(virtual_gpu.laid_out(graph), inputs)), daemon=True
    )
    run.start()
    run.join(timeout=120)
    assert len(found) == len(function.outputs)
    assert all(np.all(np.isfinite(value)) for value in found if value.dtype.is_floating)


@pytest.mark.parametrize(
    "model", mostly_slow(["glow", "labels", "real_nvp", "variational", "flow_plus_plus", "jet", *QUICK], QUICK)
)
def test_likelihoods_latents_and_samples(model):
    with devices.made_for("GPU"):
        for function in functions(MODELS[model]).values():
            check(virtual_gpu.lowered_graphs(function), convolves=model not in PRODUCTS)


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["reversible", "stored"])
def test_a_loop_of_ones_own_over_sequences(gradient):
    flow = glow_tf.Flow(glow_tf.glow_1d((16, 1), K=2, L=2, width=8, gradient=gradient), runtime=Runtime())
    variables = list(flow.named_variables(trainable=True).values())
    x = tf.constant(np.random.default_rng(0).standard_normal([4, 16, 1]), tf.float32)

    @functools.partial(tf.function, autograph=False)
    def train(steps):
        def body(step):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(flow.distribution().log_prob(x))
            for variable, change in zip(variables, tape.gradient(loss, variables), strict=True):
                variable.assign_sub(1e-3 * change)
            return step + 1

        return tf.while_loop(lambda step: step < steps, body, [0])

    sample = tf.function(lambda: flow.distribution().sample(4, seed=1), autograph=False)
    with devices.made_for("GPU"):
        check(virtual_gpu.lowered_graphs(lambda: train(tf.constant(2))))
        check(virtual_gpu.lowered_graphs(sample))
