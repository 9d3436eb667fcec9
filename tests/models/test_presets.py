import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from glow_tf import (
    Flow,
    ModelConfig,
    flow_plus_plus,
    glow,
    glow_1d,
    jet,
    layers,
    networks,
    nice,
    partitions,
    real_nvp,
    transforms,
)
from glow_tf.models.likelihood import likelihood
from glow_tf.models.variables import parameter_specs
from glow_tf.parameters import flatten_nest
from tests import bijector_checks as checks
from tests.marks import mostly_slow
from tests.models.flows import CONFIGS, random_flow, random_images, random_inputs, random_labels
from tests.tolerances import EXCEPTIONS, assert_close

# Both couplings of Glow, labels, RealNVP and NICE; the bijectors have tests of their own.
QUICK = (
    *("glow-conv1x1-affine", "glow-conv1x1_dense-additive", "glow-labels"),
    *("real_nvp", "nice-flat"),
)
every_config = pytest.mark.parametrize("name", mostly_slow(CONFIGS, QUICK))


def bijector_and_points(name):
    config = CONFIGS[name]
    bijector = random_flow(config).bijector(random_labels(config))
    z = tf.constant(np.random.default_rng(1).standard_normal([3, config.dimensions]))
    return bijector, random_inputs(config), z


@pytest.mark.parametrize("name", mostly_slow(CONFIGS, ["glow-conv1x1_dense-additive", "real_nvp", "nice-flat"]))
def test_round_trip(name):
    checks.check_round_trip(*bijector_and_points(name))


@pytest.mark.parametrize("name", mostly_slow(CONFIGS, (*QUICK, "flow_plus_plus", "jet")))
def test_log_det_is_that_of_the_jacobian(name):
    checks.check_log_det(*bijector_and_points(name))


@pytest.mark.parametrize("name", mostly_slow(CONFIGS, ["glow-conv1x1-affine"]))
def test_forward_log_det_is_minus_the_inverse_one(name):
    checks.check_log_dets_agree(*bijector_and_points(name))


@every_config
def test_every_trainable_variable_has_a_gradient(name):
    config = CONFIGS[name]
    flow = random_flow(config)
    x, labels = random_inputs(config), random_labels(config)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(flow.distribution(labels).log_prob(x)))
    # Parameters of the dequantizer affect the dequantized images, not their density.
    variables = {
        path: v for path, v in flow.named_variables(trainable=True).items() if not path.startswith("dequantizer/")
    }
    for name, grad in tape.gradient(loss, variables).items():
        assert grad is not None and np.abs(grad).max() > 0, name


@pytest.mark.parametrize("name", mostly_slow(CONFIGS, (*QUICK, "jet-labels")))
def test_images_come_back(name):
    config = CONFIGS[name]
    flow = random_flow(config, tf.float32)
    images, labels = random_images(config), random_labels(config)
    np.testing.assert_array_equal(flow.decode(flow.encode(images, labels), labels), images)


@hypothesis.settings(max_examples=4)
@hypothesis.given(
    K=st.integers(1, 3),
    L=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    channels=st.sampled_from([1, 3]),
    coupling=st.sampled_from(["affine", "additive"]),
    permutation=st.sampled_from(["conv1x1", "conv1x1_dense", "shuffle", "reverse"]),
    seed=st.integers(0, 99),
)
def test_glow_of_any_structure(K, L, sides, channels, coupling, permutation, seed):
    shape = (sides[0] * 2**L, sides[1] * 2**L, channels)
    description = glow(shape, K=K, L=L, width=3, coupling=coupling, permutation=permutation)
    assert sum(isinstance(layer, layers.Squeeze) for layer in description.layers) == L
    assert sum(isinstance(layer, layers.Split) for layer in description.layers) == L - 1
    assert [layer.depth for layer in description.layers if isinstance(layer, layers.Steps)] == [K] * L
    flow = random_flow(description, seed=seed)
    x = random_inputs(description, 2, seed)
    z = flow.bijector().forward(x)
    assert z.shape == (2, np.prod(shape))
    assert_close(flow.bijector().inverse(z), x)


def bits_per_dim(flow, x):
    """Bits/dim of images whose dequantized form is `x`."""
    log_q = flow.dequantize(tf.zeros([len(x), *flow.config.image_shape], tf.uint8))[1]
    return likelihood(flow, tf.constant(x), log_q).bits_per_dim


def normal_bits(x, log_det, n_bits=8):
    """Bits/dim of flat latents `x` under the standard normal."""
    log_prob = np.sum(-0.5 * x**2 - 0.5 * np.log(2 * np.pi), axis=1) + log_det
    dimensions = x.shape[1]
    return (dimensions * n_bits * np.log(2) - log_prob) / (dimensions * np.log(2))


@pytest.mark.parametrize("n_bits", [8, 5])
def test_bits_per_dim_of_an_untrained_additive_glow(n_bits):
    """Its networks return zero: it only squeezes and reverses, so that pixels are standard normal under the model."""
    flow = Flow(glow((4, 4, 1), K=1, L=1, width=4, coupling="additive", permutation="reverse", n_bits=n_bits))
    x = random_inputs(flow.config).numpy().astype(np.float32)
    bits = bits_per_dim(flow, x)
    assert_close(bits, normal_bits(x.reshape([3, -1]), 0.0, n_bits), EXCEPTIONS["float32"])


def test_bits_per_dim_of_an_untrained_affine_glow():
    """Its one coupling scales half of the dimensions by sigmoid(2)."""
    flow = Flow(glow((2, 2, 1), K=1, L=1, width=4, permutation="reverse"), dtype=tf.float64)
    x = random_inputs(flow.config).numpy()
    scale = 1 / (1 + np.exp(-2.0))
    # Channels 2dy + dx are reversed, so that the second half, which is scaled, was the upper row.
    z = x.reshape([3, 4])[:, ::-1] * np.array([1, 1, scale, scale])
    assert_close(flow.bijector().forward(x), z)
    bits = bits_per_dim(flow, x)
    assert_close(bits, normal_bits(z, 2 * np.log(scale)))


@pytest.mark.parametrize("base", ["logistic", "normal"])
def test_bits_per_dim_of_an_untrained_nice(base):
    flow = Flow(nice((2, 3, 1), width=4, blocks=1, base=base), dtype=tf.float64)
    log_scale = np.linspace(-1, 2, 6)
    flow.named_variables()["layers/02_scale/log_scale"].assign(log_scale)
    x = random_inputs(flow.config).numpy()
    z = x.reshape([3, 6]) * np.exp(log_scale)
    density = -z - 2 * np.log1p(np.exp(-z)) if base == "logistic" else -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    expected = (6 * 8 * np.log(2) - density.sum(1) - log_scale.sum()) / (6 * np.log(2))
    assert_close(bits_per_dim(flow, x), expected)


def flat_flow(permutation, coupling, mask):
    """Steps on vectors of size 2, for which there is no preset."""
    steps = layers.Steps(
        depth=4,
        network=networks.Mlp(width=6, blocks=1),
        permutation=permutation,
        coupling=transforms.NAMED[coupling],
        partition=partitions.NAMED[mask],
        alternate=permutation == "none",
    )
    return ModelConfig(name="flat", image_shape=(2,), layers=(steps,))


@pytest.mark.parametrize(
    "description",
    [
        nice((2,), K=4, width=6, blocks=1),
        nice((2,), K=3, width=6, blocks=2, base="normal"),
        flat_flow("conv1x1", "affine", "channel"),
        flat_flow("none", "affine_exp", "checkerboard"),
        flat_flow("reverse", "affine", "channel"),
    ],
    ids=["nice-logistic", "nice-normal", "conv-affine", "affine_exp", "reverse-affine"],
)
def test_a_density_of_the_plane_integrates_to_one(description):
    flow = random_flow(description)
    axis = np.linspace(-30, 30, 601) if description.base == "logistic" else np.linspace(-8, 8, 601)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape([-1, 2])
    density = np.exp(flow.distribution().log_prob(points).numpy())
    edge = np.abs(points).max(1) == axis[-1]
    assert density[edge].max() < 1e-6, "The grid does not cover the density."
    assert_close(density.sum() * (axis[1] - axis[0]) ** 2, 1.0, EXCEPTIONS["integral of a density"])


def kinds(description):
    return [type(layer).__name__ for layer in description.layers]


def test_structure_of_glow():
    assert kinds(glow((32, 32, 3), L=3)) == [
        *("Squeeze", "Steps", "Split", "Squeeze", "Steps", "Split", "Squeeze", "Steps"),
        "TopPrior",
    ]
    assert "TopPrior" not in kinds(glow((8, 8, 3), L=1, learn_top=False))
    paper = glow((256, 256, 3), K=32, L=6)
    assert paper.shapes()[-1] == (4, 4, 384)
    assert all(layer.network == networks.Cnn(width=512) for layer in paper.layers if isinstance(layer, layers.Steps))


def test_structure_of_glow_1d():
    description = glow_1d((4096, 2), K=3, L=3, width=16, squeeze=4)
    assert [kind for kind in kinds(description) if kind != "TopPrior"] == kinds(glow((32, 32, 3), L=3))[:-1]
    assert description.latent_shapes == [(1024, 4), (256, 8), (64, 32)]
    assert {layer.factor for layer in description.layers if isinstance(layer, layers.Squeeze)} == {4}
    steps = [layer for layer in description.layers if isinstance(layer, layers.Steps)]
    assert steps == [layers.Steps(depth=3, network=networks.Cnn(width=16))] * 3
    assert description.name == "glow_1d" and ModelConfig.from_json(description.to_json()) == description
    assert kinds(description)[-1] == "TopPrior" and "TopPrior" not in kinds(glow_1d(learn_top=False))
    labelled = glow_1d((8, 1), K=1, L=1, num_classes=3, conditional_couplings=True)
    assert labelled.layers[1].network == networks.Cnn(width=128, num_classes=3)
    assert labelled.layers[-1] == layers.TopPrior(num_classes=3)


def test_structure_of_real_nvp():
    description = real_nvp((32, 32, 3), width=16)
    assert kinds(description) == ["Logit", *["Steps", "Squeeze", "Steps", "Split"] * 3, "Steps"]
    steps = [layer for layer in description.layers if isinstance(layer, layers.Steps)]
    checkerboard, channel = partitions.Checkerboard(), partitions.Channels()
    assert [(s.depth, s.partition) for s in steps] == [(3, checkerboard), (3, channel)] * 3 + [(4, checkerboard)]
    assert [s.network for s in steps] == [networks.Resnet(width=w, blocks=4) for w in (16, 32, 32, 64, 64, 128, 128)]
    assert {(s.coupling, s.permutation, s.alternate) for s in steps} == {(transforms.AffineExp(), "none", True)}
    assert description.shapes()[-1][:2] == (4, 4)
    assert not any(layer.learned for layer in description.layers if isinstance(layer, layers.Split))


@pytest.mark.parametrize("side,levels,last", [(8, 1, 4), (16, 2, 4), (64, 4, 4), (4, 1, 2)])
def test_real_nvp_halves_down_to_4(side, levels, last):
    description = real_nvp((side, side, 1), width=4)
    assert sum(isinstance(layer, layers.Squeeze) for layer in description.layers) == levels
    assert description.shapes()[-1][0] == last


def test_structure_of_nice():
    description = nice()
    assert kinds(description) == ["Flatten", "Steps", "Scale"]
    steps = description.layers[1]
    assert (steps.depth, steps.network) == (4, networks.Mlp(width=1000, blocks=5))
    assert (steps.coupling, steps.partition) == (transforms.Additive(), partitions.Checkerboard())
    assert steps.alternate and not steps.actnorm and description.base == "logistic"
    assert kinds(nice((5,))) == ["Steps", "Scale"]


def test_structure_of_flow_plus_plus():
    """The layers are those of the official code for CIFAR-10 and ImageNet 64x64."""
    description = flow_plus_plus()
    assert kinds(description) == ["Logit", "Steps", "Squeeze", "Steps", "Steps"]
    steps = [layer for layer in description.layers if isinstance(layer, layers.Steps)]
    columns, channels = partitions.Positions(pattern="columns"), partitions.Channels()
    assert [(s.depth, s.partition) for s in steps] == [(4, columns), (2, channels), (3, columns)]
    network = networks.GatedAttention(width=96, blocks=10, heads=4, dropout=0.2)
    assert {(s.network, s.coupling, s.permutation, s.alternate, s.actnorm) for s in steps} == {
        (network, transforms.MixtureLogistic(components=32), "conv1x1", True, True)
    }
    larger = flow_plus_plus((64, 64, 3), [(0, 0), (0, 4), (2, 2), (2, 2)], variant="imagenet64")
    assert kinds(larger) == ["Logit", *["Squeeze", "Steps"], *["Squeeze", "Steps", "Steps"] * 2]
    assert larger.shapes()[-1] == (8, 8, 192)
    assert larger.layers[2].network == networks.GatedAttention(width=96, final_elu=True)
    noise = larger.dequantizer
    assert (noise.depth, noise.features.blocks, noise.features.normalized, noise.features.heads) == (4, 5, True, 0)
    assert noise.network == networks.GatedAttention(width=96, blocks=5, heads=0, final_elu=True, image_channels=32)
    noise = flow_plus_plus(variant="imagenet32", heads=2).dequantizer
    assert (noise.depth, noise.features.blocks, noise.features.normalized, noise.features.heads) == (8, 8, True, 4)
    assert (noise.network.blocks, noise.network.heads) == (8, 2)
    with pytest.raises(ValueError, match="variant='lsun' is not one of 'cifar10'"):
        flow_plus_plus(variant="lsun")
    labelled = flow_plus_plus((4, 4, 3), [(0, 1)], num_classes=3, conditional_couplings=True, classifier=True)
    assert labelled.layers[1].network.num_classes == 3 and labelled.classifier
    assert labelled.layers[-1] == layers.TopPrior(learned=False, num_classes=3)
    assert ModelConfig.from_json(labelled.to_json()) == labelled


@pytest.mark.parametrize("variant", ["imagenet32", "imagenet64"])
def test_couplings_by_channels_divide_blocks_of_pixels_into_upper_and_lower_ones_for_imagenet(variant):
    """The official code splits the output of tf.nn.space_to_depth, at every scale."""
    config = flow_plus_plus((16, 16, 3), [(0, 0), (1, 0), (1, 0)], width=4, blocks=1, variant=variant)
    assert ModelConfig.from_json(config.to_json()) == config
    rows = np.broadcast_to(np.arange(16.0)[:, np.newaxis, np.newaxis], [1, 16, 16, 3])
    x, block = tf.constant(rows), 1
    for layer in config.layers:
        if isinstance(layer, layers.Squeeze):
            x, _ = layer.bijector(tuple(x.shape[1:]), {}).forward_and_log_det(x)
            block *= 2
        elif isinstance(layer, layers.Steps):
            upper, lower = layer.partition.divide(x)
            for part, halves in ((upper, range(block // 2)), (lower, range(block // 2, block))):
                assert set(np.unique(part % block)) == set(halves)
    assert block == 4


def test_parameters_of_the_published_flow_plus_plus():
    """The count for the coupling networks is that of the official code for CIFAR-10, by its own function."""
    config = flow_plus_plus()
    shapes = parameter_specs(config)
    sizes = [
        np.prod(shape)
        for path, shape, trained in shapes
        if trained and path.startswith("layers/") and "/network/" in path
    ]
    assert sum(sizes) == 27_920_088
    noise_parameters = flatten_nest(config.dequantizer.parameters(config.image_shape, np.random.default_rng(0)))
    # Of the 3,466,976 in the official code, 3,072 normalise and 9 mix the colours of each half of the noise before each
    # of the four couplings.
    assert sum(np.prod(parameter.shape) for _, parameter in noise_parameters) == 3_466_976 - 4 * 2 * (3_072 + 9)


# Counts that the launchers of the official code state, and what is there and not here: two parameters per element in
# the normalisation before each coupling; for 32x32, the magnitudes of weight-normalised layers, one per output channel;
# for 64x64, the position embeddings of the four couplings of the dequantization, which have no attention.
_MAGNITUDES = 128 + 20 * (128 + 256 + 384 + 256)
_NOISE_MAGNITUDES = 128 + 8 * (128 + 256 + 128 + 384 + 256) + 3 * 98
_FEATURE_MAGNITUDES = 32 + 8 * (32 + 64 + 96 + 64)


@pytest.mark.parametrize(
    ("side", "couplings", "width", "blocks", "components", "stated", "more"),
    [
        (
            *(32, [(0, 7), (3, 3)], 128, 20, 32, 168_955_724),
            (13 + 8) * 2 * 32 * 32 * 3
            + (13 * _MAGNITUDES + 98 * (7 * 3 + 3 * 6 + 3 * 12))
            + (8 * _NOISE_MAGNITUDES + _FEATURE_MAGNITUDES),
        ),
        (
            *(64, [(0, 0), (0, 4), (2, 2), (2, 2)], 96, 16, 4, 73_489_960),
            (12 + 4) * 2 * 64 * 64 * 3 + 4 * 64 * 32 * 96,
        ),
    ],
    ids=["imagenet32", "imagenet64"],
)
def test_parameters_of_the_flow_plus_plus_for_imagenet(side, couplings, width, blocks, components, stated, more):
    config = flow_plus_plus(
        (side, side, 3),
        couplings,
        width,
        blocks,
        coupling=transforms.MixtureLogistic(components=components),
        permutation="none",
        variant=f"imagenet{side}",
    )
    sizes = [np.prod(shape) for path, shape, trained in parameter_specs(config) if trained and "actnorm" not in path]
    assert sum(sizes) == stated - more


def test_structure_of_jet():
    """The layers are those of big_vision's configs/proj/jet/imagenet64.py."""
    description = jet(K=7)
    assert kinds(description) == ["Scale", "Squeeze", "Steps"]
    steps = description.layers[-1]
    assert (steps.depth, steps.network) == (7, networks.Vit(width=512, depth=2, heads=8))
    assert (steps.actnorm, steps.permutation, steps.alternate) == (False, "shuffle", True)
    assert steps.coupling == transforms.AffineSigmoid(factor=2.0)
    assert description.shapes()[-1] == (16, 16, 48)
    assert steps.partition.kinds[:10] == (*["channels"] * 4, "checkerboard", *["channels"] * 4, "checkerboard-odd")
    spatial = ("checkerboard", "checkerboard-odd", "columns", "columns-odd", "rows", "rows-odd")
    assert steps.partition.kinds[4::5] == spatial and steps.partition.ways == 30
    labelled = jet((8, 8, 3), K=1, num_classes=3, conditional=False, conditional_couplings=True)
    assert labelled.layers[-1].network.num_classes == 3
    assert ModelConfig.from_json(labelled.to_json()) == labelled


@pytest.mark.parametrize(("K", "blocks", "count"), [(32, 2, 207_177_216), (64, 5, 1_019_612_160)])
def test_parameters_of_the_published_jets(K, blocks, count):
    sizes = [np.prod(shape) for _, shape, trained in parameter_specs(jet(K=K, blocks=blocks)) if trained]
    assert sum(sizes) == count


def test_bits_per_dim_of_an_untrained_jet():
    """It only multiplies its input by 2, so that doubled pixels are standard normal under the model."""
    flow = Flow(jet((4, 4, 3), K=6, width=4, blocks=1, patch_size=2), dtype=tf.float64)
    x = random_inputs(flow.config).numpy()
    assert_close(bits_per_dim(flow, x), normal_bits(2 * x.reshape([3, -1]), 48 * np.log(2)))


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: flow_plus_plus((30, 31, 3)), "30x31 .* 30x30 or 32x32 would do, or fewer scales"),
        (lambda: flow_plus_plus((4, 3, 3), [(0, 1)]), r"layers\[1\] \(Steps\) halves the positions .* \(4, 3, 3\)"),
        (lambda: flow_plus_plus((4, 4, 3), [(1, 1)]), r"layers\[1\] \(Steps\) halves the channels .* \(4, 4, 3\)"),
        (lambda: flow_plus_plus(couplings=()), r"couplings=\(\) must be a pair of numbers for each scale"),
        (lambda: flow_plus_plus(couplings=((1, 2, 3),)), "must be a pair of numbers for each scale"),
        (lambda: flow_plus_plus(couplings=((0, -1),)), "couplings=-1 must be an integer of at least 0"),
        (lambda: flow_plus_plus(coupling="cubic"), "coupling='cubic' is not one of 'affine'"),
        (lambda: flow_plus_plus(dropout=1.5), "dropout=1.5 must be at least 0 and less than 1"),
        (lambda: flow_plus_plus(conditional_couplings=True), "needs num_classes of at least 1"),
        (lambda: jet((6, 8, 3)), r"layers\[1\] \(Squeeze\) needs .* multiples of factor=4; it gets \(6, 8, 3\)"),
        (lambda: jet((12, 12, 3)), r"layers\[2\] \(Steps\) halves the positions .* \(3, 3, 48\)"),
        (lambda: jet((8, 8, 2)), "1 or 3 channels, not 2"),
        (lambda: jet(K=0), "K=0 must be an integer of at least 1"),
        (lambda: jet(patch_size=0), "patch_size=0 must be an integer of at least 1"),
        (lambda: jet(heads=0), "heads=0 must be an integer of at least 1"),
        (lambda: jet(conditional=True), "needs num_classes of at least 1"),
        (lambda: glow((30, 32, 3), L=3), "30x32 .* 2\\^L = 8. 24x32 or 32x40 would do, or a smaller L"),
        (lambda: glow((8, 8, 3), L=4), "multiples of 2\\^L = 16. 16x16 would do, or a smaller L"),
        (lambda: real_nvp((20, 20, 3), L=3), "24x24 would do"),
        (lambda: glow((32, 32, 2)), "1 or 3 channels, not 2"),
        (lambda: nice((28, 28, 2)), "1 or 3 channels, not 2"),
        (lambda: glow((32, 32)), "image_shape=\\(32, 32\\) must be \\(height, width, channels\\)"),
        (lambda: real_nvp((32,)), "image_shape=\\(32,\\)"),
        (lambda: nice((4, 4)), "image_shape=\\(4, 4\\)"),
        (lambda: glow_1d((1000, 1), L=6), "length 1000 .* squeeze\\^L = 64. 960 or 1024 would do, or a smaller L"),
        (lambda: glow_1d((8, 1), L=2, squeeze=4), "squeezed 2 times by 4: .* = 16. 16 would do"),
        (lambda: glow_1d((0, 1), L=1), "length 0 .* 2 would do"),
        (lambda: glow_1d((27, 2), L=2, squeeze=3), "squeeze=3 leaves an odd number of channels of 2"),
        (lambda: glow_1d((64, 0), L=1), "shape=\\(64, 0\\): a sequence has at least 1 channel"),
        (lambda: glow_1d((64,), L=1), "shape=\\(64,\\) must be \\(length, channels\\)"),
        (lambda: glow_1d((32, 32, 3), L=1), "shape=\\(32, 32, 3\\) must be \\(length, channels\\)"),
        (lambda: glow_1d(squeeze=1), "squeeze=1 must be an integer of at least 2"),
        (lambda: glow_1d(L=0), "L=0 must be an integer of at least 1"),
        (lambda: glow_1d(K=0), "K=0 must be an integer of at least 1"),
        (lambda: glow_1d(permutation="none"), "permutation='none' is not one of"),
        (lambda: glow_1d(coupling="cubic"), "coupling='cubic' is not one of"),
        (lambda: glow_1d(conditional_couplings=True), "needs num_classes of at least 1"),
        (lambda: glow(K=0), "K=0 must be an integer of at least 1"),
        (lambda: glow(L=0), "L=0 must be an integer of at least 1"),
        (lambda: glow(K=2.0), "K=2.0 must be an integer"),
        (lambda: glow(width=0), "width=0"),
        (lambda: glow(coupling="cubic"), "coupling='cubic' is not one of 'affine', 'additive', 'mixture_logistic'"),
        (lambda: glow(permutation="none"), "permutation='none' is not one of"),
        (lambda: glow(n_bits=0), "n_bits=0 must be an integer of at least 1"),
        (lambda: glow(n_bits=9), "n_bits=9 must be at most 8"),
        (lambda: nice(n_bits=9), "n_bits=9"),
        (lambda: real_nvp(n_bits=0), "n_bits=0"),
        (lambda: glow(num_classes=-1), "num_classes=-1"),
        (lambda: glow(conditional=True), "needs num_classes of at least 1"),
        (lambda: glow(classifier=True), "needs num_classes of at least 1"),
        (lambda: glow(gradient="exact"), "gradient='exact' is not one of 'reversible', 'stored'"),
        (lambda: nice(base="cauchy"), "base='cauchy' is not one of 'normal', 'logistic'"),
        (lambda: nice(K=0), "K=0"),
        (lambda: real_nvp(blocks=0), "blocks=0"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@hypothesis.given(height=st.integers(1, 100), width=st.integers(1, 100), levels=st.integers(1, 5))
@hypothesis.settings(max_examples=100)
def test_sizes_that_would_do_would_do(height, width, levels):
    try:
        glow((height, width, 3), K=1, L=levels, width=1)
    except ValueError as error:
        sizes = str(error).split(f"2^L = {2**levels}. ")[1].split(" would do")[0].split(" or ")
        for size in sizes:
            glow((*map(int, size.split("x")), 3), K=1, L=levels, width=1)
    else:
        assert height % 2**levels == 0 and width % 2**levels == 0


@hypothesis.given(length=st.integers(0, 300), squeeze=st.integers(2, 5), levels=st.integers(1, 4))
@hypothesis.settings(max_examples=100)
def test_lengths_that_would_do_would_do(length, squeeze, levels):
    factor = squeeze**levels
    try:
        glow_1d((length, 2**levels), K=1, L=levels, squeeze=squeeze, width=1)
    except ValueError as error:
        for near in str(error).split(f"squeeze^L = {factor}. ")[1].split(" would do")[0].split(" or "):
            glow_1d((int(near), 2**levels), K=1, L=levels, squeeze=squeeze, width=1)
        assert length % factor or not length
    else:
        assert length % factor == 0 and length > 0
