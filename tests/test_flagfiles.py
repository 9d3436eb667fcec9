"""The configurations in the package: their models and training, and that every model can be built."""

import dataclasses
import functools
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

import glow_tf
from glow_tf import dequantization, networks, options, partitions, transforms
from glow_tf import layers as c
from tests.marks import mostly_slow

FOLDER = pathlib.Path(__file__).parent.parent / "glow_tf" / "flagfiles"
FILES = {file.stem: file for file in sorted(FOLDER.glob("*.flags"))}
# Measured with this program rather than published.
OWN = ("people_pretrained", "people_pretrained_32", "quickstart")
LABELS = {"cifar10": 10, "mnist": 10, "imagenet_resized/32x32": 1000, "people": 6}

# Kingma & Dhariwal 2018, tables 2 to 5, and the commands in the README of the official code: side, K, L, bits,
# coupling, batch, GPUs.
GLOW = {
    "cifar10": (32, 32, 3, 8, "affine", 512, 8),
    "imagenet32": (32, 48, 3, 8, "affine", 512, 8),
    "imagenet64": (64, 48, 4, 8, "affine", 128, 8),
    "lsun_bedroom": (64, 48, 4, 8, "affine", 128, 8),
    "lsun_tower": (64, 48, 4, 8, "affine", 128, 8),
    "lsun_church": (64, 48, 4, 8, "affine", 128, 8),
    "celeba_hq_256": (256, 32, 6, 5, "additive", 40, 40),
    "celeba_hq_256_affine": (256, 32, 6, 5, "affine", 40, 40),
    "cifar10_conditional": (32, 32, 3, 5, "additive", 512, 8),
    "imagenet32_conditional": (32, 48, 3, 5, "additive", 512, 8),
    "mnist": (32, 32, 3, 8, "affine", 64, 1),
}
# Dinh et al. 2017, table 1 and section 4.1: side, halvings, features, blocks, whether mirrored.
REAL_NVP = {
    "real_nvp_cifar10": (32, 1, 64, 8, True),
    "real_nvp_imagenet32": (32, 3, 32, 4, False),
    "real_nvp_imagenet64": (64, 4, 32, 2, False),
    "real_nvp_lsun_bedroom": (64, 4, 32, 2, True),
    "real_nvp_lsun_tower": (64, 4, 32, 2, True),
    "real_nvp_lsun_church": (64, 4, 32, 2, True),
    "real_nvp_celeba": (64, 4, 32, 2, True),
}

# The official code: side, couplings, width, blocks, dropout, components, mixing of channels, batch, learning rate,
# warm-up, EMA decay.
FLOW_PLUS_PLUS = {
    "cifar10": (32, ((0, 4), (2, 3)), 96, 10, 0.2, 32, "conv1x1", 64, 3e-4, 2_000, 0.999),
    "imagenet32": (32, ((0, 7), (3, 3)), 128, 20, 0.0, 32, "none", 32, 1e-3, 5_000, 0.999222),
    "imagenet64": (64, ((0, 0), (0, 4), (2, 2), (2, 2)), 96, 16, 0.0, 4, "none", 72, 4e-4, 10_000, 0.999),
}
# The authors' code: couplings, blocks, and the resulting number of parameters.
JET = {"jet_imagenet64_32x2": (32, 2, 207_177_216), "jet_imagenet64_64x5": (64, 5, 1_019_612_160)}
PUBLISHED = (*GLOW, *REAL_NVP, *(f"flow_plus_plus_{variant}" for variant in FLOW_PLUS_PLUS), *JET)

every_file = pytest.mark.parametrize("stem", FILES)


@pytest.fixture
def described():
    """Parses a flagfile and returns its model and training configs; restores every flag afterwards."""
    saved = flagsaver.save_flag_values()

    def described(stem):
        flags.FLAGS(["main", f"--flagfile={FILES[stem]}"])
        size = options.image_size()
        shape = (size, size, options.FLAGS.channels or 3)
        model = options.model_config(shape, LABELS.get(options.FLAGS.dataset, 0))
        return model, options.training_config(shape, 1)

    yield described
    flagsaver.restore_flag_values(saved)


def steps_of(model):
    return [layer for layer in model.layers if isinstance(layer, c.Steps)]


def parameters(model):
    """The number of trainable parameters, by hand from the layers' definitions."""
    total = 0
    for layer, shape in zip(model.layers, model.shapes()[:-1], strict=True):
        channels = shape[-1]
        if isinstance(layer, c.Steps):
            total += layer.depth * _step_parameters(layer, shape)
        elif isinstance(layer, c.Split) and layer.learned:
            # A 3x3 convolution of half the channels and the border indicator, with bias and log-scale.
            total += 9 * (channels // 2 + 1) * channels + 2 * channels
        elif isinstance(layer, c.TopPrior):
            # A mean and a log standard deviation per channel, each with bias and log-scale.
            total += layer.learned * (9 + 2) * 2 * channels
            total += bool(layer.num_classes) * (layer.num_classes + 2) * 2 * channels
    return total + model.classifier * (channels + 2) * model.num_classes + _dequantizer_parameters(model)


def _dequantizer_parameters(model):
    noise = model.dequantizer
    if not isinstance(noise, dequantization.Variational):
        return 0
    height, width, channels = model.image_shape
    couplings = c.Steps(depth=1, network=noise.network, coupling=noise.coupling, actnorm=False, permutation="none")
    if noise.features is not None:
        # A 3x3 convolution of both halves of the columns; blocks of two more, which see concatenated ELUs, and perhaps
        # of attention with its gate, and of normalisations.
        f, blocks, heads = noise.feature_channels, noise.features.blocks, noise.features.heads
        features = (9 * 2 * channels + 1) * f + blocks * (18 * f + 1) * (f + 2 * f)
        if heads:
            features += height * width // 2 * f + blocks * ((f + 1) * 3 * f + (f + 1) * 2 * f)
        features += noise.features.normalized * blocks * (1 + (heads > 0)) * 2 * f
        couplings = dataclasses.replace(couplings, partition=noise.partition)
        # A 1x1 convolution of the features in each block of a coupling's network.
        conditioning = noise.network.blocks * (2 * f + 1) * noise.network.width
        return features + noise.depth * (_step_parameters(couplings, model.image_shape) + conditioning)
    # Each network also sees the image, squeezed like the noise.
    return noise.depth * _step_parameters(couplings, (height // 2, width // 2, 4 * channels), seen=4 * channels)


def _step_parameters(layer, shape, seen=0):
    (*sides, channels), w = shape, layer.network.width
    splits_channels = isinstance(layer.partition, partitions.Channels | partitions.Turns)
    inputs = channels // 2 if splits_channels else channels
    outputs = inputs * layer.coupling.parameters_per_dim
    inputs += seen
    # Actnorm: bias and log-scale. PLU: two triangles, kept as full matrices, and the diagonal.
    mixing = layer.actnorm * 2 * channels + (layer.permutation == "conv1x1") * (2 * channels**2 + channels)
    if isinstance(layer.network, networks.GatedAttention | networks.Vit):
        positions = math.prod(sides) // (1 + isinstance(layer.partition, partitions.Positions))
        heads = layer.network.heads
        seen_by_heads = heads and heads * math.ceil(w / heads)
        return mixing + _attentive_parameters(layer.network, w, seen_by_heads, inputs, outputs, positions)
    if isinstance(layer.network, networks.Cnn):
        # Kernels larger than 1x1 see the border indicator; each output channel of the three has two more parameters.
        kernels = layer.network.kernels
        weights = (k**2 * (i + (k > 1)) * o for k, i, o in zip(kernels, (inputs, w, w), (w, w, outputs), strict=True))
        return mixing + sum(weights) + 2 * (w + w + outputs)
    # Weight normalisation: a direction, a magnitude and a bias; an actnorm per block and one before the last layer.
    block = 2 * (9 * w**2 + 2 * w) + 2 * w
    last = w * outputs + 2 * outputs + outputs // 2
    return mixing + 9 * inputs * w + 2 * w + layer.network.blocks * block + 2 * w + last


def _attentive_parameters(network, w, seen, inputs, outputs, positions):
    """Parameters of a network of w hidden channels, whose attention has queries, keys and values of `seen` channels."""
    if isinstance(network, networks.Vit):
        # Two normalisations; queries, keys and values; the output projection; an MLP of 4w units; each with biases.
        block = 2 * 2 * w + (w + 1) * 3 * seen + (seen + 1) * w + (w + 1) * 4 * w + (4 * w + 1) * w
        return (inputs + 1) * w + positions * w + network.depth * block + 2 * w + (w + 1) * outputs
    # A 3x3 convolution and a 1x1 one of concatenated ELUs, and a normalisation; the attention, its gate, and another.
    block = (18 * w + 1) * w + (2 * w + 1) * 2 * w + 2 * w
    if network.heads:
        block += (w + 1) * 3 * seen + (seen + 1) * 2 * w + 2 * w
    position = positions * w * (network.heads > 0)
    return (9 * inputs + 1) * w + position + network.blocks * block + (9 * (1 + network.final_elu) * w + 1) * outputs


def narrow(model):
    """The same flow, of the same depth, with coupling networks of a few channels."""
    layers = [
        dataclasses.replace(layer, network=dataclasses.replace(layer.network, width=max(2, layer.network.width // 128)))
        if isinstance(layer, c.Steps)
        else layer
        for layer in model.layers
    ]
    noise = model.dequantizer
    if isinstance(noise, dequantization.Variational):
        noise = dataclasses.replace(noise, network=dataclasses.replace(noise.network, width=2))
    return dataclasses.replace(model, layers=tuple(layers), dequantizer=noise)


def test_every_file_is_known():
    assert set(FILES) == {*PUBLISHED, *OWN}


@every_file
def test_no_flag_is_given_twice(stem):
    names = [line.split("=")[0] for line in FILES[stem].read_text().splitlines() if line.startswith("--")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("stem", GLOW)
def test_glow_as_published(described, stem):
    side, K, L, n_bits, coupling, batch_size, gpus = GLOW[stem]
    model, training = described(stem)
    assert model.name == "glow"
    assert model.image_shape[:2] == (side, side)
    assert model.n_bits == n_bits
    assert [(s.depth, s.network, s.coupling, s.permutation) for s in steps_of(model)] == [
        (K, networks.Cnn(width=512), transforms.NAMED[coupling], "conv1x1")
    ] * L
    assert sum(isinstance(layer, c.Squeeze) for layer in model.layers) == L
    labelled = stem.endswith("conditional")
    assert model.layers[-1] == c.TopPrior(num_classes=model.num_classes if labelled else 0)
    assert model.classifier == labelled
    # The official code counts images in units of 32x32: 64 of them per GPU and update, 50,000 per epoch.
    assert training.batch_size == batch_size == gpus * max(1, 64 * 32 * 32 // side**2)
    assert training.warmup_steps == math.ceil(10 * 50_000 / (64 * gpus))
    assert training.ema_decay == pytest.approx(1 - 1 / math.ceil(50_000 / (64 * gpus)), abs=1e-5)
    assert training.init_images == 256 * 32 * 32 // side**2
    assert (training.optimizer, training.learning_rate, training.flip) == ("adamax", 1e-3, False)
    assert training.label_loss_weight == (0.01 if labelled else 0)


@pytest.mark.parametrize("stem", REAL_NVP)
def test_real_nvp_as_published(described, stem):
    side, L, width, blocks, flip = REAL_NVP[stem]
    model, training = described(stem)
    assert model.name == "real_nvp"
    assert (model.image_shape, model.n_bits) == ((side, side, 3), 8)
    assert {s.network.blocks for s in steps_of(model)} == {blocks}
    assert [s.network.width for s in steps_of(model)][0::2] == [width * 2**level for level in range(L + 1)]
    assert model.shapes()[-1][0] == (4 if L > 1 else 16)
    assert (training.batch_size, training.optimizer, training.learning_rate) == (64, "adam", 1e-3)
    assert (training.flip, training.warmup_steps, training.ema_decay) == (flip, 0, 0)
    # 100 nats per image, in bits/dim.
    assert training.clip_norm == pytest.approx(100 / (side * side * 3 * math.log(2)), rel=5e-3)


@pytest.mark.parametrize("variant", FLOW_PLUS_PLUS)
def test_flow_plus_plus_as_published(described, variant):
    side, couplings, width, blocks, dropout, components, permutation, *of_training = FLOW_PLUS_PLUS[variant]
    batch_size, learning_rate, warmup_steps, ema_decay = of_training
    model, training = described(f"flow_plus_plus_{variant}")
    mixture = transforms.MixtureLogistic(components=components)
    assert model == glow_tf.flow_plus_plus(
        (side, side, 3), couplings, width, blocks, 4, dropout, mixture, permutation, variant=variant
    )
    assert (training.batch_size, training.learning_rate) == (batch_size, learning_rate)
    assert (training.warmup_steps, training.ema_decay) == (warmup_steps, ema_decay)
    assert (training.optimizer, training.flip, training.shift) == ("adam", False, 0)
    # 1 nat per image, in bits/dim.
    assert training.clip_norm == pytest.approx(1 / (side * side * 3 * math.log(2)), rel=5e-3)


@pytest.mark.parametrize("stem", JET)
def test_jet_as_published(described, stem):
    K, blocks, count = JET[stem]
    model, training = described(stem)
    assert model == glow_tf.jet((64, 64, 3), K=K, width=512, blocks=blocks, heads=8, patch_size=4)
    assert parameters(model) == count
    assert f"{count:,} parameters" in FILES[stem].read_text()
    assert (training.batch_size, training.learning_rate, training.clip_norm) == (1024, 3e-4, 1)
    # 200 epochs, a tenth of them for warm-up.
    assert training.steps == 200 * 1_281_149 // 1024
    assert training.warmup_steps == training.steps // 10


@pytest.mark.parametrize("stem", [stem for stem in FILES if "lsun" in stem])
def test_lsun_is_cropped_at_random(described, stem):
    described(stem)
    assert options.source_arguments()["crop_from"] == 96
    assert options.image_size() == 64


def test_a_tenth_of_celeba_hq_is_held_out(described):
    described("celeba_hq_256")
    assert options.source_arguments()["test_size"] == 3000


@pytest.mark.parametrize("stem", PUBLISHED)
def test_each_published_file_has_a_directory_of_its_own(described, stem):
    described(stem)
    assert options.model_dir() == pathlib.Path("runs") / stem


@pytest.mark.parametrize(
    ("stem", "shapes"),
    [
        ("cifar10", [(16, 16, 12), (8, 8, 24), (4, 4, 48)]),
        ("imagenet64", [(32, 32, 12), (16, 16, 24), (8, 8, 48), (4, 4, 96)]),
        (
            "celeba_hq_256",
            [(128, 128, 12), (64, 64, 24), (32, 32, 48), (16, 16, 96), (8, 8, 192), (4, 4, 384)],
        ),
        ("mnist", [(16, 16, 4), (8, 8, 8), (4, 4, 16)]),
        ("real_nvp_cifar10", [(32, 32, 3), (16, 16, 12), (16, 16, 6)]),
        (
            "real_nvp_imagenet32",
            [(32, 32, 3), (16, 16, 12), (16, 16, 6), (8, 8, 24), (8, 8, 12), (4, 4, 48), (4, 4, 24)],
        ),
    ],
)
def test_shapes_by_hand(described, stem, shapes):
    model, _ = described(stem)
    entering = zip(model.layers, model.shapes()[:-1], strict=True)
    assert [shape for layer, shape in entering if isinstance(layer, c.Steps)] == shapes


@pytest.mark.parametrize(
    ("stem", "count"),
    [
        # A step of each level has 352,200, 436,176 and 605,856; the splits have 780 and 2,856, the top prior 1,056.
        ("cifar10", 32 * (352_200 + 436_176 + 605_856) + 780 + 2_856 + 1_056),
        # One more level, with 952,128 per step; the splits have 780, 2,856 and 10,896, the top prior 2,112.
        ("imagenet64", 48 * (352_200 + 436_176 + 605_856 + 952_128) + 780 + 2_856 + 10_896 + 2_112),
    ],
)
def test_parameters_by_hand(described, stem, count):
    model, _ = described(stem)
    assert parameters(model) == count


@pytest.mark.parametrize("stem", OWN)
def test_the_small_ones_build_as_they_are(described, stem):
    model, _ = described(stem)
    assert untrained_bits_per_dim(model).shape == (2,)


@functools.cache
def untrained_bits_per_dim(model):
    """Bits/dim of two noise images; cached, as several files describe the same model."""
    flow = glow_tf.Flow(model)
    assert sum(v.shape.num_elements() for v in flow.trainable_variables) == parameters(model)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, [2, *model.image_shape], np.uint8))
    labels = tf.constant([0, model.num_classes - 1]) if model.conditional else None
    return flow.bits_per_dim(images, labels).numpy()


@pytest.mark.parametrize(
    "stem",
    mostly_slow(FILES, [*OWN, "cifar10_conditional", "mnist", "real_nvp_imagenet32"]),
)
def test_it_builds_at_its_own_depth(described, stem):
    model, _ = described(stem)
    bits = untrained_bits_per_dim(narrow(model))
    assert bits.shape == (2,)
    assert np.all(np.isfinite(bits))
    # Noise cannot be compressed.
    assert np.all(bits > model.n_bits)
