"""Custom layers, transforms, networks, partitions and contexts, used like those of the package."""

import dataclasses
import json
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import glow_tf
from glow_tf.export.saved_model import export_saved_model
from glow_tf.layers import Split, Squeeze, Steps
from glow_tf.models.likelihood import likelihood
from glow_tf.runtime import devices
from tests.extending.my_parts import Dense, DropChannels, OddChannels, ScaleAndShift, Sinh
from tests.runtime import tf32
from tests.tolerances import assert_close, assert_gradient_close

OWN = glow_tf.ModelConfig(
    name="own",
    image_shape=(4, 4, 2),
    layers=(
        ScaleAndShift(initial=2.0),
        Squeeze(),
        Steps(depth=3, network=Dense(width=5), coupling=Sinh(), partition=OddChannels()),
        DropChannels(count=3),
        ScaleAndShift(),
        Steps(depth=2, network=Dense(width=4), partition=glow_tf.partitions.Channels(first=2), permutation="shuffle"),
    ),
)
CONTEXT = glow_tf.ModelConfig(
    name="context",
    image_shape=(4, 4, 1),
    layers=(Squeeze(), Steps(depth=3, network=Dense(width=4, context_channels=3)), Split()),
)


def moved(flow, distance=0.1):
    rng = np.random.default_rng(5)
    for variable in flow.named_variables(trainable=True).values():
        variable.assign_add(tf.cast(distance * rng.standard_normal(variable.shape), variable.dtype))
    return flow


def images(config, n=6):
    return tf.constant(np.random.default_rng(0).integers(0, 256, [n, *config.image_shape]), tf.uint8)


def inputs(config, n=4):
    return tf.constant(np.random.default_rng(1).uniform(-0.5, 0.5, [n, *config.image_shape]))


def log_det_by_jacobian(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    size = int(np.prod(x.shape[1:]))
    return np.linalg.slogdet(np.reshape(tape.batch_jacobian(y, x), [-1, size, size]))[1]


def test_they_are_stored_in_the_config():
    text = OWN.to_json()
    assert glow_tf.ModelConfig.from_json(text) == OWN
    first = json.loads(text)["layers"][0]
    assert (first["layer"], first["module"], first["initial"]) == ("ScaleAndShift", "tests.extending.my_parts", 2.0)


def test_the_likelihood_is_exact_and_images_come_back():
    flow = moved(glow_tf.Flow(OWN, dtype=tf.float64))
    flow.initialize(images(OWN))
    x = inputs(OWN)
    z, log_det = flow.bijector().forward_and_log_det(x)
    assert OWN.latent_shapes == [(2, 2, 3), (2, 2, 5)]
    assert_close(log_det, log_det_by_jacobian(lambda x: flow.bijector().forward_and_log_det(x)[0], x))
    assert_close(flow.bijector().inverse_and_log_det(z)[0], x)
    np.testing.assert_array_equal(flow.decode(flow.encode(images(OWN))), images(OWN))


def test_parts_by_level_add_up():
    flow = moved(glow_tf.Flow(OWN, dtype=tf.float64))
    x = inputs(OWN)
    parts = likelihood(flow, x, tf.zeros([len(x)], x.dtype)).parts
    levels = ["log_det/level_1", "log_det/level_2", "prior/level_1", "prior/level_2"]
    assert sorted(parts) == ["dequantization", *levels]
    assert_close(-sum(parts.values()) * OWN.dimensions * np.log(2), flow.distribution().log_prob(x))


def test_gradients_are_the_same_rebuilt_and_stored():
    gradients = {}
    for gradient in ("reversible", "stored"):
        flow = moved(glow_tf.Flow(dataclasses.replace(OWN, gradient=gradient), dtype=tf.float64))
        variables = flow.named_variables(trainable=True)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(flow.distribution().log_prob(inputs(OWN)))
        gradients[gradient] = dict(zip(variables, tape.gradient(loss, list(variables.values())), strict=True))
    for path, expected in gradients["stored"].items():
        assert np.abs(expected).max() > 0, path
        assert_gradient_close(gradients["reversible"][path], expected, message=path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The model directory of a flow after a few updates, and the flow."""
    flow, data = glow_tf.Flow(OWN), images(OWN, 32)
    flow.initialize(data)
    variables = list(flow.named_variables(trainable=True).values())
    before = float(tf.reduce_mean(flow.bits_per_dim(data)))
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(flow.bits_per_dim(data))
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.01 * gradient)
    assert float(tf.reduce_mean(flow.bits_per_dim(data))) < before
    directory = tmp_path_factory.mktemp("own")
    glow_tf.save(flow, directory)
    return directory, flow


def test_they_are_loaded(trained):
    directory, flow = trained
    loaded = glow_tf.load(directory)
    data = images(OWN)
    np.testing.assert_array_equal(loaded.bits_per_dim(data), flow.bits_per_dim(data))


def test_in_another_process_a_saved_model_needs_none_of_them_and_the_error_says_what_to_import(trained, tmp_path):
    directory, _ = trained
    config = dataclasses.replace(OWN, layers=OWN.layers[:4])
    export_saved_model(moved(glow_tf.Flow(config)), tmp_path / "export")
    np.savez(tmp_path / "images.npz", images=images(config))
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"loaded = tf.saved_model.load({str(tmp_path / 'export')!r})\n"
        f"images = np.load({str(tmp_path / 'images.npz')!r})['images']\n"
        "latents = loaded.signatures['encode'](images=images)['latents']\n"
        "back = loaded.signatures['decode'](latents=latents)['images']\n"
        "assert 'glow_tf' not in sys.modules and 'tests' not in sys.modules\n"
        "print(bool(np.array_equal(back, images)))\n"
        "import glow_tf\n"
        "try:\n"
        f"    glow_tf.load({str(directory)!r})\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    came_back, error = done.stdout.splitlines()
    assert came_back == "True"
    assert "layers[0].layer='ScaleAndShift' is not one of" in error
    assert "import tests.extending.my_parts first" in error


def test_glow_takes_a_transform_and_a_network():
    config = glow_tf.glow((8, 8, 3), K=2, L=2, coupling=Sinh(), network=Dense(width=4))
    assert {layer.coupling for layer in config.layers if isinstance(layer, Steps)} == {Sinh()}
    flow = moved(glow_tf.Flow(config))
    np.testing.assert_array_equal(flow.decode(flow.encode(images(config))), images(config))


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: glow_tf.glow((8, 8, 3), coupling="sinh"), "coupling='sinh' is not one of 'affine', 'additive'"),
        (lambda: glow_tf.glow((8, 8, 3), network="dense"), "network='dense' is not a network"),
        (lambda: dataclasses.replace(OWN, layers=(DropChannels(count=9),)), r"\(DropChannels\) drops 9 channels"),
        (lambda: dataclasses.replace(OWN, layers=(ScaleAndShift,)), "is not a layer"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_class_without_its_decorator_is_named():
    class Plain(ScaleAndShift):
        extra: int = 1

    with pytest.raises(ValueError, match="Plain must be decorated with @dataclasses.dataclass"):
        dataclasses.replace(OWN, layers=(Plain(),))


def test_a_field_with_the_name_of_its_kind_is_refused():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Around(glow_tf.networks.Network):
        network: glow_tf.networks.Network = Dense(width=4)

    try:
        with pytest.raises(ValueError, match="Around has a field 'network': choose another name for it"):
            Steps(depth=1, network=Around())
    finally:
        del glow_tf.networks.Network.classes["Around"]


def test_a_part_in_a_part_whose_field_has_the_name_of_another_kind():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Learned(glow_tf.transforms.Transform):
        parameters_per_dim: ClassVar[int] = 1
        network: glow_tf.networks.Network = Dense(width=4)

    try:
        config = glow_tf.glow((4, 4, 3), K=1, L=1, coupling=Learned(network=Dense(width=7)))
        assert glow_tf.ModelConfig.from_json(config.to_json()) == config
    finally:
        del glow_tf.transforms.Transform.classes["Learned"]


def test_a_name_of_the_package_is_taken():
    with pytest.raises(ValueError, match="There is a layer Split in glow_tf.layers.split: choose another name"):
        type("Split", (glow_tf.layers.Layer,), {"__module__": "elsewhere"})


def conditioned(gradient="reversible"):
    return moved(glow_tf.Flow(dataclasses.replace(CONTEXT, gradient=gradient), dtype=tf.float64), 0.3)


def embeddings(n=4):
    return tf.constant(np.random.default_rng(2).standard_normal([n, 3]))


def test_a_context_changes_the_likelihood_and_is_inverted():
    flow, x = conditioned(), inputs(CONTEXT)
    context = {"embedding": embeddings()}
    log_prob = flow.distribution(context=context).log_prob(x)
    other = flow.distribution(context={"embedding": -embeddings()}).log_prob(x)
    assert np.all(np.abs(log_prob - other) > 1e-6)
    data = images(CONTEXT, 4)
    np.testing.assert_array_equal(flow.decode(flow.encode(data, context=context), context=context), data)
    assert np.any(flow.decode(flow.encode(data, context=context), context={"embedding": -embeddings()}) != data)


def test_gradients_by_the_context_are_the_same_rebuilt_and_stored():
    found = []
    for gradient in ("reversible", "stored"):
        flow, context = conditioned(gradient), embeddings()

        def gradients(flow=flow, context=context):
            variables = list(flow.named_variables(trainable=True).values())
            with tf.GradientTape() as tape:
                tape.watch(context)
                loss = tf.reduce_sum(flow.distribution(context={"embedding": context}).log_prob(inputs(CONTEXT)))
            return tape.gradient(loss, [context, *variables])

        found.append(tf.function(gradients)() if gradient == "reversible" else gradients())
    for rebuilt, stored in zip(*found, strict=True):
        assert np.abs(stored).max() > 0
        assert np.abs(rebuilt - stored).max() <= 1e-9 * np.abs(stored).max()


def test_the_gradient_by_the_context_is_the_difference_quotient():
    flow, x, context = conditioned(), inputs(CONTEXT), embeddings()
    direction = tf.constant(np.random.default_rng(3).standard_normal(context.shape))

    def log_prob(t):
        return tf.reduce_sum(flow.distribution(context={"embedding": context + t * direction}).log_prob(x))

    with tf.GradientTape() as tape:
        t = tf.constant(0.0, tf.float64)
        tape.watch(t)
        value = log_prob(t)
    step = 1e-6
    expected = (log_prob(step) - log_prob(-step)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(value, t), expected, rtol=1e-6)


def test_one_context_for_all_examples_and_one_for_each():
    flow, x = conditioned(), inputs(CONTEXT)
    one = embeddings(1)
    for_all = flow.distribution(context={"embedding": one})
    assert for_all.batch_shape == []
    each = flow.distribution(context={"embedding": tf.repeat(one, 4, axis=0)})
    assert each.batch_shape == [4]
    assert_close(for_all.log_prob(x), each.log_prob(x))
    samples = each.sample(5, seed=1)
    assert samples.shape == (5, 4, 4, 4, 1)
    assert_close(each.log_prob(samples)[2], each.log_prob(samples[2]))


def test_a_context_of_unknown_size_for_all_examples():
    network = glow_tf.networks.ContextChannels(inner=Dense(width=4), channels=3)
    config = dataclasses.replace(CONTEXT, layers=(Squeeze(), Steps(depth=2, network=network)))
    flow, x = moved(glow_tf.Flow(config, dtype=tf.float64), 0.3), inputs(config)
    one = tf.constant(np.random.default_rng(2).standard_normal([1, 2, 2, 3]))

    @tf.function(input_signature=[tf.TensorSpec([None, *t.shape[1:]], tf.float64) for t in (x, one)])
    def latents_and_log_prob(x, image):
        context = {"image": image}
        return flow.bijector_of(x, None, context).forward(x), flow.distribution(context=context).log_prob(x)

    z, log_prob = latents_and_log_prob(x, one)
    assert_close(z, flow.bijector(context={"image": one}).forward(x))
    assert_close(log_prob, flow.distribution(context={"image": one}).log_prob(x))
    assert latents_and_log_prob(x[:0], one)[1].shape == (0,)


def test_class_logits_undo_a_prior_that_sees_the_context():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Shifted(glow_tf.layers.Layer):
        is_prior: ClassVar[bool] = True

        def bijector(self, shape, tensors, context=None):
            mean = tf.tile(context["mean"][:, tf.newaxis, tf.newaxis], [1, *shape[:-1], 1])
            return glow_tf.bijectors.DiagonalPrior(mean, tf.zeros_like(mean))

    try:
        config = dataclasses.replace(CONTEXT, layers=(Shifted(),), num_classes=2, classifier=True)
        flow, data = moved(glow_tf.Flow(config, dtype=tf.float64)), images(config, 4)
        logits = []
        for seed in range(2):
            context = {"mean": np.random.default_rng(seed).standard_normal([4, 1])}
            logits.append(flow.class_logits(flow.encode(data, context=context), context=context))
        assert_close(logits[0], logits[1])
        assert np.ptp(logits[0][:, 0]) > 0
        shared = {"mean": context["mean"][:1]}
        z = flow.encode(data, context=shared)
        repeated = {"mean": np.repeat(shared["mean"], 4, axis=0)}
        assert_close(flow.class_logits(z, context=shared), flow.class_logits(z, context=repeated))
    finally:
        del glow_tf.layers.Layer.classes["Shifted"]


def test_a_distribution_with_a_context_is_not_sliced():
    distribution = conditioned().distribution(context={"embedding": embeddings()})
    for sliceable in (distribution, distribution.bijector.bijector, tfp.distributions.Independent(distribution)):
        with pytest.raises(ValueError, match="A flow with a context cannot be sliced: slice the context"):
            sliceable[0]
    assert distribution.copy().batch_shape == [4]


def test_networks_get_one_label_for_each_example():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Tiled(glow_tf.networks.Network):
        """A shift per label, at every position."""

        def num_classes_needed(self):
            return 3

        def parameters(self, rng, depth, inputs, outputs, shape):
            return {"shift": 0.1 * rng.standard_normal([depth, 3, outputs])}

        def apply(self, tensors, x, context=None, training=False, seed=None):
            shift = tf.gather(tensors["shift"], context["labels"])
            tiled = tf.tile(shift[:, tf.newaxis, tf.newaxis], [1, *x.shape[1:-1], 1])
            # For other numbers of examples and labels, this fails.
            return tf.concat([x, tiled], axis=-1)[..., x.shape[-1] :]

    try:
        config = glow_tf.glow((4, 4, 1), K=1, L=1, num_classes=3, conditional=False, network=Tiled())
        flow, data = glow_tf.Flow(config), images(CONTEXT, 4)
        assert_close(flow.bits_per_dim(data, 2), flow.bits_per_dim(data, [2] * 4), 1e-6)
        assert flow.sample(4, labels=2).shape == (4, 4, 4, 1)
    finally:
        del glow_tf.networks.Network.classes["Tiled"]


def test_contexts_are_checked():
    flow = conditioned()
    with pytest.raises(ValueError, match=r"A context must have shape \[4, ...\] or \[1, ...\]; this one has \(3, 3\)"):
        flow.encode(images(CONTEXT, 4), context={"embedding": embeddings(3)})
    with pytest.raises(ValueError, match="A context must have shape"):
        flow.distribution(context=tf.constant(1.0))


def test_a_network_of_ones_own_is_exact_on_gpus(tmp_path):
    network, rng = Dense(width=64, context_channels=3), np.random.default_rng(0)
    tensors = {
        name: tf.constant(rng.standard_normal(shape), tf.float32)
        for name, shape in (("enter", [32, 64]), ("context", [3, 64]), ("leave", [64, 8]))
    }
    x, embedding = (tf.constant(rng.standard_normal(shape), tf.float32) for shape in ([2, 2, 2, 32], [2, 3]))
    module = tf.Module()
    module.apply = tf.function(lambda x, e: network.apply(tensors, x, {"embedding": e}), autograph=False)
    with devices.made_for("GPU"):
        module.apply.get_concrete_function(x, embedding)
        tf.saved_model.save(module, str(tmp_path / "plain"))
    assert tf32.on_a_gpu(tmp_path / "plain", tmp_path / "gpu") >= 3
    found = tf.saved_model.load(str(tmp_path / "gpu")).apply(x, embedding)
    double = {name: t.numpy().astype(np.float64) for name, t in tensors.items()}
    term = (embedding.numpy().astype(np.float64) @ double["context"])[:, np.newaxis, np.newaxis]
    exact = (np.tanh(x.numpy().astype(np.float64) @ double["enter"]) + term) @ double["leave"]
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())


def test_dropout_is_drawn_in_training_from_the_seed():
    network = Dense(width=16, dropout=0.5)
    config = dataclasses.replace(CONTEXT, layers=(Squeeze(), Steps(depth=3, network=network)))
    flow, x = moved(glow_tf.Flow(config, dtype=tf.float64), 0.3), inputs(CONTEXT)

    def log_prob(**options):
        return flow.distribution(**options).log_prob(x).numpy()

    np.testing.assert_array_equal(log_prob(training=True, seed=1), log_prob(training=True, seed=1))
    assert np.all(log_prob(training=True, seed=1) != log_prob(training=True, seed=2))
    assert np.all(log_prob(training=True, seed=1) != log_prob())
    np.testing.assert_array_equal(log_prob(), log_prob(seed=1))


def test_class_conditional_couplings():
    config = glow_tf.glow((4, 4, 3), K=2, L=2, width=6, num_classes=3, conditional=False, conditional_couplings=True)
    assert config.conditional
    flow = moved(glow_tf.Flow(config, dtype=tf.float64), 0.2)
    data = images(config, 3)
    flow.initialize(data, [0, 1, 2])
    bits = [flow.bits_per_dim(data, [label] * 3).numpy() for label in range(3)]
    assert np.all(np.abs(bits[0] - bits[1]) > 1e-9) and np.all(np.abs(bits[1] - bits[2]) > 1e-9)
    np.testing.assert_array_equal(flow.decode(flow.encode(data, [2, 0, 1]), [2, 0, 1]), data)
    assert glow_tf.ModelConfig.from_json(config.to_json()) == config
