"""Properties of every layer, transform, network, partition and dequantizer, of the package and of users.

Classes are found where they register themselves; a new class needs no change here.
"""

import dataclasses
import inspect

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf import parameters
from glow_tf.dequantization import Dequantizer
from glow_tf.description import from_fields, to_fields
from glow_tf.layers import Layer, Steps
from glow_tf.networks import Cnn, GatedConvolutions, Mlp, Network
from glow_tf.partitions import Partition
from glow_tf.transforms import Affine, Transform
from tests.extending import my_parts
from tests.models.flows import CONFIGS
from tests.tolerances import FINITE_DIFFERENCE, assert_close, assert_gradient_close

assert my_parts  # Registers the custom classes.

# Values of fields without a default, keyed by type.
VALUES = {"int": 2, "float": 0.3, "str": "a", "Network": Cnn(width=3)}
# An image, a sequence and a flat vector. Layers, networks and partitions are tested on each shape that they take.
SHAPES = [(2, 4, 6), (4, 6), (6,)]


def example(cls):
    """An instance with values for required fields only."""
    required = [
        field for field in dataclasses.fields(cls) if field.default is field.default_factory is dataclasses.MISSING
    ]
    names = {field.name: getattr(field.type, "__name__", str(field.type)).rpartition(".")[2] for field in required}
    return cls(**{name: VALUES[kind] for name, kind in names.items()})


def every(*kinds):
    classes = {f"{kind.kind}-{name}": cls for kind in kinds for name, cls in kind.classes.items()}
    return pytest.mark.parametrize("cls", classes.values(), ids=classes)


def takes(part, shape):
    try:
        part.output_shape(shape) if isinstance(part, Layer) else part.check(shape)
    except ValueError:
        return False
    return True


def every_with_shapes(kind):
    """Every class of a kind with each shape that its example takes."""
    cases = {
        f"{kind.kind}-{name}-{len(shape)}d": (cls, shape)
        for name, cls in kind.classes.items()
        for shape in SHAPES
        if takes(example(cls), shape)
    }
    return pytest.mark.parametrize("cls,shape", cases.values(), ids=cases)


@every(Layer, Network, Partition)
def test_it_takes_a_shape(cls):
    assert any(takes(example(cls), shape) for shape in SHAPES), f"It takes none of {SHAPES}."


def random(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


KINDS = Layer, Transform, Network, Partition, Dequantizer


@every(*KINDS)
def test_it_is_stored_compared_and_hashed(cls):
    part = example(cls)
    kind = next(kind for kind in KINDS if isinstance(part, kind))
    again = from_fields("part", to_fields(part), kind, {})
    assert again == part and hash(again) == hash(part)


@every(Transform)
def test_transforms(cls):
    transform, shape = example(cls), (5, 3, 2)
    x, h = random(shape), 0.5 * random([*shape, transform.parameters_per_dim], 1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_det = transform.forward(x, h)
    slope = tape.gradient(y, x)
    assert np.all(slope > 0)
    assert_close(tf.zeros_like(y) if log_det is None else log_det, np.log(slope))
    back, inverse_log_det = transform.inverse(y, h)
    assert_close(back, x)
    assert (log_det is None) == (inverse_log_det is None)
    if log_det is not None:
        assert_close(inverse_log_det, -log_det)


@every(Transform)
@pytest.mark.parametrize("count", ["one an element", "one an example"])
def test_products_with_the_jacobian_of_transforms(cls, count):
    transform, shape = example(cls), (5, 3, 2)
    x, h = random(shape), 0.5 * random([*shape, transform.parameters_per_dim], 1)
    y, _ = transform.forward(x, h)
    dy, dlog_det = random(shape, 2), random(shape if count == "one an element" else (5, 1, 1), 3)
    found = transform.vjp(x, y, h, dy, dlog_det)
    for a, b in zip(found, Transform.vjp(transform, x, y, h, dy, dlog_det), strict=True):
        assert_close(a, b)


@every_with_shapes(Partition)
@pytest.mark.parametrize("swap", [0, 1])
def test_partitions(cls, shape, swap):
    partition = example(cls)
    x = random([3, *shape])
    x1, x2 = partition.divide(x, swap)
    assert (x1.shape[-1], x2.shape[-1]) == partition.channels(shape)
    np.testing.assert_array_equal(partition.merge(x1, x2, swap), x)
    # Changing the transformed part leaves the conditioning part unchanged.
    mask = partition.mask(x, swap)
    added = tf.ones_like(x2) if mask is None else tf.ones_like(x2) * mask
    again1, again2 = partition.divide(partition.merge(x1, x2 + added, swap), swap)
    np.testing.assert_array_equal(again1, x1)
    assert np.any(again2 != x2)


@every_with_shapes(Network)
def test_networks(cls, shape):
    network, depth, inputs, outputs = example(cls), 3, 4, 6
    nest = network.parameters(np.random.default_rng(0), depth, inputs, outputs, shape)
    leaves = dict(parameters.flatten_nest(nest))
    values = {path: tf.constant(parameters.initial_value(leaf), tf.float64) for path, leaf in leaves.items()}
    for path, value in values.items():
        assert value.shape == leaves[path].shape and value.shape[0] == depth, path
    moved = {path: value + 0.1 * random(value.shape, 4) for path, value in values.items()}
    x = random([2, *shape[:-1], inputs])
    for initial, start in ((True, values), (False, moved)):
        stacked = network.prepare(parameters.unflatten_nest(start))
        h = network.apply(tf.nest.map_structure(lambda t: t[1], stacked), x)
        assert h.shape == (2, *shape[:-1], outputs)
        # Most transforms are near the identity at 0. Features are not parameters of a transform.
        assert np.all(h == 0) if initial and cls is not GatedConvolutions else np.any(h != 0)


def flow_of(layer, shape, gradient="reversible"):
    """A flow of a single layer with perturbed weights, and a batch."""
    config = glow_tf.ModelConfig(
        name="one",
        image_shape=shape,
        layers=(layer,),
        gradient=gradient,
        num_classes=layer.num_classes_needed(),
    )
    flow = glow_tf.Flow(config, dtype=tf.float64)
    for i, variable in enumerate(flow.named_variables(trainable=True).values()):
        variable.assign_add(0.1 * random(variable.shape, i))
    # Within the interval to which some layers are restricted.
    return flow, tf.tanh(random([4, *config.image_shape], 9)) / 2


@every(Transform)
def test_gradients_of_samples_are_the_same_in_a_graph(cls):
    """There, the gradient of a loop computes with values that are kept from the loop, and not with its tensors."""
    flow, _ = flow_of(Steps(depth=2, network=Mlp(width=4, blocks=1), coupling=example(cls)), (4,))

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(flow.distribution().sample(3, seed=[1, 2])))
        return tape.gradient(loss, flow.named_variables(trainable=True))

    expected = gradients()
    for path, actual in tf.function(gradients, autograph=False)().items():
        assert_gradient_close(actual, expected[path], message=path)


@every(Transform)
def test_forward_mode_through_inverses_is_right_or_refused(cls):
    transform, shape = example(cls), (5, 3, 2)
    y, h = random(shape), 0.5 * random([*shape, transform.parameters_per_dim], 1)
    tangent = random(h.shape, 2)
    nearby = [transform.inverse(y, h + distance * tangent)[0] for distance in (1e-6, -1e-6)]
    try:
        with tf.autodiff.ForwardAccumulator(h, tangent) as accumulator:
            found = accumulator.jvp(transform.inverse(y, h)[0])
    except NotImplementedError as error:
        assert cls.vjp is Transform.vjp
        assert f"{cls.__name__} has no vjp" in str(error)
    else:
        assert_close(found, (nearby[0] - nearby[1]) / 2e-6, FINITE_DIFFERENCE)


def check_bijectivity(layer, shape):
    """Checks inverse and log-det, and that the result for an example does not depend on the others of its batch."""
    flow, x = flow_of(layer, shape)
    bijector = flow.bijector()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z, log_det = bijector.forward_and_log_det(x)
    back, inverse_log_det = bijector.inverse_and_log_det(z)
    assert_close(back, x)
    assert_close(inverse_log_det, -log_det)
    for alone, of_batch in zip(bijector.forward_and_log_det(x[1:2]), (z, log_det), strict=True):
        assert_close(alone, of_batch[1:2])
    size = flow.config.dimensions
    jacobian = np.reshape(tape.batch_jacobian(z, x, experimental_use_pfor=False), [4, size, size])
    assert_close(log_det, np.linalg.slogdet(jacobian)[1])


def check_gradients(layer, shape):
    """Checks that the gradient is the same with inputs rebuilt and stored."""
    found = []
    for gradient in ("reversible", "stored"):
        flow, x = flow_of(layer, shape, gradient)
        variables = flow.named_variables(trainable=True)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(flow.distribution().log_prob(x))
        found.append(tape.gradient(loss, [x, *variables.values()]))
    for path, rebuilt, stored in zip(["x", *variables], *found, strict=True):
        assert stored is not None, path
        assert_gradient_close(rebuilt, stored, message=path)


@every_with_shapes(Layer)
def test_layers_are_bijective(cls, shape):
    check_bijectivity(example(cls), shape)


@every_with_shapes(Layer)
def test_gradients_of_layers_are_the_same_rebuilt_and_stored(cls, shape):
    check_gradients(example(cls), shape)


def steps_with_every_network():
    """Small steps with each network and with patches where it has any, for each shape that it takes."""
    cases = {}
    for name, cls in Network.classes.items():
        fields = {field.name for field in dataclasses.fields(cls)}
        # Layer normalisation of fewer channels would leave little but signs.
        small = {name: value for name, value in {"width": 4, "blocks": 1, "depth": 1}.items() if name in fields}
        for patches in ({}, {"patch_size": 2}) if "patch_size" in fields else ({},):
            network = dataclasses.replace(example(cls), **small, **patches)
            layer = Steps(depth=2, network=network, coupling=Affine())
            shapes = [shape for shape in [(2, 4, 2), (4, 2), (4,)] if takes(layer, shape)]
            assert shapes, name
            cases |= {f"{name}{'-patches' if patches else ''}-{len(shape)}d": (layer, shape) for shape in shapes}
    return pytest.mark.parametrize("layer,shape", cases.values(), ids=cases)


@steps_with_every_network()
def test_steps_with_networks_are_bijective(layer, shape):
    check_bijectivity(layer, shape)


@steps_with_every_network()
def test_gradients_of_steps_with_networks_are_the_same_rebuilt_and_stored(layer, shape):
    check_gradients(layer, shape)


def test_every_preset_is_among_the_flows_that_are_tested():
    public = [getattr(glow_tf, name) for name in glow_tf.__all__]
    presets = [f for f in public if inspect.isfunction(f) and f.__module__ == "glow_tf.models.presets"]
    assert glow_tf.glow in presets
    assert {preset.__name__ for preset in presets} <= {config.name for config in CONFIGS.values()}


@every_with_shapes(Layer)
def test_layers_initialise_what_they_hand_on(cls, shape):
    layer = example(cls)
    flow, x = flow_of(layer, shape)
    _, _, tensors = next(flow.iter_layers())
    values, y = layer.initialize(shape, tensors, x)
    assert y.shape == (4, *layer.output_shape(shape))
    assert dict(parameters.flatten_nest(values)).keys() <= dict(parameters.flatten_nest(tensors)).keys()
    flow.initialize_from(x)
    assert np.all(np.isfinite(flow.distribution().log_prob(x)))


def noise_of(dequantizer, images, seed):
    """Dequantizes images with weights that are perturbed from their initial values."""
    nest = dequantizer.parameters(images.shape[1:], np.random.default_rng(0))
    leaves = parameters.flatten_nest(nest)
    values = {path: tf.constant(parameters.initial_value(leaf), tf.float64) for path, leaf in leaves}
    moved = {path: value + 0.3 * random(value.shape, 3) for path, value in values.items()}
    return dequantizer.noise(images, parameters.unflatten_nest(moved), seed)


@every(Dequantizer)
def test_images_come_back_from_what_is_dequantized(cls):
    dequantizer, images = example(cls), tf.constant(np.arange(256.0).reshape([4, 8, 8, 1]))
    x, log_q = noise_of(dequantizer, images, tf.constant([1, 2]))
    assert x.shape == images.shape and log_q.shape == (4,) and x.dtype == log_q.dtype == tf.float64
    for real in (x, dequantizer.center(images)):
        np.testing.assert_array_equal(dequantizer.to_images(real), images)


@every(Dequantizer)
def test_noise_by_one_seed_an_image_depends_on_it_alone(cls):
    dequantizer, images = example(cls), tf.constant(np.arange(256.0).reshape([4, 8, 8, 1]))
    seeds = tf.constant([[0, 1], [0, 2], [5, 1], [6, 6]])
    x, log_q = noise_of(dequantizer, images, seeds)
    for i in range(4):
        alone, log_q_alone = noise_of(dequantizer, images[i : i + 1], seeds[i : i + 1])
        assert_close(alone, x[i : i + 1])
        assert_close(log_q_alone, log_q[i : i + 1])


@every(Dequantizer)
def test_log_q_is_the_density_that_noise_is_drawn_from(cls):
    """The mean over the noise of 1 / q inside a part of the bin, and 0 outside, is the width of that part."""
    dequantizer = example(cls)
    if dequantizer.n_bits is None:
        pytest.skip("There is no noise.")
    images = tf.fill([200_000, 1], tf.constant(77.0, tf.float64))
    x, log_q = noise_of(dequantizer, images, tf.constant([3, 4]))
    u = (x - dequantizer.quantize(images)).numpy().ravel() * 2**dequantizer.n_bits
    for low, high in ((0.2, 0.4), (0.4, 0.7)):
        inside = (u > low) & (u < high)
        width = np.mean(np.where(inside, np.exp(-log_q), 0)) * 2**dequantizer.n_bits
        assert abs(width / (high - low) - 1) < 0.02
