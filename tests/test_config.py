import dataclasses
import importlib.util
import json
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from glow_tf import ModelConfig, glow, layers, networks, nice, partitions, real_nvp, transforms
from glow_tf.dequantization import Uniform, Variational
from glow_tf.layers.steps import PERMUTATIONS

PRESETS = {
    "glow": glow(),
    "glow-everything": glow(
        (64, 32, 1),
        K=2,
        L=4,
        width=8,
        coupling="additive",
        permutation="conv1x1_dense",
        n_bits=5,
        num_classes=10,
        classifier=True,
        gradient="stored",
    ),
    "real_nvp": real_nvp(),
    "nice": nice(),
    "nice-flat": nice((2,), base="normal"),
    "empty": ModelConfig(name="empty", image_shape=(3,), layers=()),
}

every_preset = pytest.mark.parametrize("description", PRESETS.values(), ids=PRESETS)


@every_preset
def test_json_round_trip(description):
    text = description.to_json()
    again = ModelConfig.from_json(text)
    assert again == description and again.to_json() == text
    assert isinstance(again.layers, tuple) and isinstance(again.image_shape, tuple)
    assert hash(again) == hash(description)


@hypothesis.given(
    depth=st.integers(1, 99),
    width=st.integers(1, 999),
    permutation=st.sampled_from(PERMUTATIONS),
    coupling=st.sampled_from(list(transforms.NAMED.values())),
    partition=st.sampled_from([*partitions.NAMED.values(), partitions.Channels(first=1)]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    n_bits=st.integers(1, 8),
    alpha=st.floats(1e-9, 0.49),
)
def test_json_round_trip_of_any_layers(depth, width, permutation, coupling, partition, flags, n_bits, alpha):
    actnorm, alternate, learned = flags
    steps = layers.Steps(
        depth=depth,
        network=networks.Cnn(width=width),
        actnorm=actnorm,
        permutation=permutation,
        coupling=coupling,
        partition=partition,
        alternate=alternate,
    )
    parts = (layers.Logit(alpha=alpha), layers.Squeeze(), steps, layers.Split(learned=learned), layers.Scale())
    description = ModelConfig(name="mine", image_shape=(4, 4, 3), layers=parts, dequantizer=Uniform(n_bits=n_bits))
    assert ModelConfig.from_json(description.to_json()) == description


# As written by version 0.1.0.
OLD_STEPS = {
    "layer": "Steps",
    "depth": 2,
    "width": 4,
    "actnorm": True,
    "permutation": "conv1x1",
    "coupling": "affine",
    "mask": "channel",
    "alternate": False,
    "network": "cnn",
    "blocks": 2,
}


def test_a_squeeze_without_a_factor_is_one_by_two_in_the_order_of_glow():
    text = json.dumps({"name": "mine", "image_shape": [4, 4, 3], "layers": [{"layer": "Squeeze"}]})
    assert ModelConfig.from_json(text).layers == (layers.Squeeze(factor=2, order="channel_major"),)


def old(prior=None, n_bits=8, **fields):
    model = {"name": "mine", "image_shape": [8, 8, 3], "num_classes": 5, "n_bits": n_bits}
    steps = {name: value for name, value in {**OLD_STEPS, **fields}.items() if value is not None}
    prior = prior or {"layer": "TopPrior", "learned": True, "conditional": False}
    return json.dumps({**model, "layers": [{"layer": "Squeeze"}, steps, prior]})


@pytest.mark.parametrize(
    "fields,network,coupling,partition",
    [
        ({}, networks.Cnn(width=4), transforms.Affine(), partitions.Channels()),
        (
            {"network": "resnet", "blocks": 3, "coupling": "affine_exp", "mask": "checkerboard"},
            networks.Resnet(width=4, blocks=3),
            transforms.AffineExp(),
            partitions.Checkerboard(),
        ),
        (
            {"network": "mlp", "coupling": "additive"},
            networks.Mlp(width=4, blocks=2),
            transforms.Additive(),
            partitions.Channels(),
        ),
    ],
)
def test_configs_of_version_0_1_0(fields, network, coupling, partition):
    steps = ModelConfig.from_json(old(**fields)).layers[1]
    assert steps == layers.Steps(depth=2, network=network, coupling=coupling, partition=partition)


@pytest.mark.parametrize("conditional", [False, True])
def test_priors_of_version_0_1_0(conditional):
    model = ModelConfig.from_json(old({"layer": "TopPrior", "learned": True, "conditional": conditional}))
    assert model.conditional == conditional
    assert model.layers[-1] == layers.TopPrior(num_classes=5 if conditional else 0)


def test_the_bits_of_version_0_1_0():
    model = ModelConfig.from_json(old(n_bits=5))
    assert (model.dequantizer, model.n_bits) == (Uniform(n_bits=5), 5)


@pytest.mark.parametrize(
    "text,message",
    [
        (old(n_bits=9), "dequantizer.n_bits=9 must be at most 8"),
        (old(width=None, network="cnn"), r"layers\[1\].width is missing"),
        (old(width="wide"), r"layers\[1\].width='wide' must be of type int"),
        (old(network="unet"), r"layers\[1\].network='unet' is not one of 'cnn', 'resnet', 'mlp'"),
        (old(coupling="cubic"), r"layers\[1\].coupling='cubic' is not one of 'additive', 'affine'"),
        (old(mask="stripes"), r"layers\[1\].mask='stripes' is not one of 'channel', 'checkerboard'"),
    ],
)
def test_malformed_configs_of_version_0_1_0(text, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_json(text)


def changed(**fields):
    data = json.loads(glow((8, 8, 3), K=2, L=1, width=4).to_json())
    for path, value in fields.items():
        *parents, last = path.split("__")
        part = data
        for parent in parents:
            part = part[int(parent) if parent.isdigit() else parent]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "not the JSON of a glow_tf model config"),
        ("{", "not the JSON"),
        ("[]", "not the JSON"),
        ("7", "not the JSON"),
        ("{}", "layers"),
        (changed(colour="red"), "colour"),
        (changed(layers__1__depht=3), "depht"),
        (changed(layers__1__layer="Spline"), "Spline"),
        (changed(layers__1__layer=None), "layer"),
        (changed(layers__1__depth=None), "depth"),
        (changed(layers__1__depth=0), "depth=0"),
        (changed(layers__1__depth="two"), "depth='two'"),
        (changed(layers__1__coupling="cubic"), "coupling='cubic'"),
        (changed(layers=["Squeeze"]), "dictionary"),
        (changed(layers=3), "not the JSON"),
        (changed(image_shape=None), "image_shape"),
        (changed(image_shape=[7, 8, 3]), r"layers\[0\] \(Squeeze\) needs an image with even sides"),
        (changed(image_shape="wide"), "'w'"),
        (changed(dequantizer__n_bits=12), "n_bits=12 must be at most 8"),
        (changed(name=None), "name"),
        (changed(name=5), "name=5 must be of type str"),
        (changed(layers__1__alternate="no"), r"layers\[1\].alternate='no' must be of type bool"),
        (changed(layers__1__actnorm=1), r"layers\[1\].actnorm=1 must be of type bool"),
        (changed(layers__1__depth=True), r"layers\[1\].depth=True must be of type int"),
        (changed(layers__1__depth=2.0), r"layers\[1\].depth=2.0 must be of type int"),
        (changed(layers__1__network=["Cnn"]), r"layers\[1\].network=\('Cnn',\) is not a network"),
        (changed(layers__1__network__network="Unet"), r"layers\[1\].network.network='Unet' is not one of Cnn, "),
        (changed(layers__1__network__width=0), r"layers\[1\].network.width=0 must be an integer of at least 1"),
        (changed(layers__1__network__depth=3), r"layers\[1\].network.depth is not a field of a Cnn; they are width"),
        (changed(layers__1__network=None), r"layers\[1\].network is missing"),
        (changed(layers__1__partition={"transform": "Affine"}), r"layers\[1\].partition=Affine\(\) is not a partition"),
        (changed(layers__1__layer=["Steps"]), r"layers\[1\].layer=\['Steps'\] is not one of"),
        (changed(image_shape=[8.5, 8, 3]), "image_shape=8.5 must be an integer"),
        (changed(image_shape=["8", 8, 3]), "image_shape='8' must be an integer"),
        (changed(image_shape=[8, 8, True]), "image_shape=True must be an integer"),
        (changed(image_shape=[8, 8, 1e400]), "image_shape=inf must be an integer"),
        (changed(dequantizer__n_bits=-1), "n_bits=-1"),
        (changed(n_bits=5), "n_bits is not a field of a ModelConfig"),
        (changed(dequantizer="Uniform"), "dequantizer must be a dictionary"),
        (
            changed(dequantizer={"dequantizer": "Gaussian"}),
            "dequantizer.dequantizer='Gaussian' is not one of Continuous, Uniform",
        ),
        ("[" * 100_000, "not the JSON"),
    ],
)
def test_malformed_json(text, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_json(text)


def test_differences_name_the_fields():
    mine = glow((32, 32, 3), K=4, L=2, width=64)
    assert mine.differences(mine) == []
    theirs = glow((32, 32, 3), K=4, L=2, width=512, n_bits=5, gradient="stored")
    assert mine.differences(theirs) == [
        "layers[1].network.width: 64 vs. 512",
        "layers[4].network.width: 64 vs. 512",
        "dequantizer.n_bits: 8 vs. 5",
        "gradient: reversible vs. stored",
    ]
    deeper = mine.differences(glow((32, 32, 3), K=4, L=3, width=64))
    assert "layers[8].layer: absent vs. TopPrior" in deeper
    assert any(line.startswith("image_shape: [32, 32, 3] vs. [28, 28, 1]") for line in mine.differences(nice()))


def test_shapes():
    shapes = glow((32, 16, 3), K=1, L=3, width=4).shapes()
    assert shapes == [
        *[(32, 16, 3), (16, 8, 12), (16, 8, 12), (16, 8, 6)],
        *[(8, 4, 24), (8, 4, 24), (8, 4, 12)],
        *[(4, 2, 48), (4, 2, 48), (4, 2, 48)],
    ]
    assert nice((4, 6, 1)).shapes() == [(4, 6, 1), (24,), (24,), (24,)]
    assert glow((32, 16, 3)).dimensions == 32 * 16 * 3


@pytest.mark.parametrize("shape,events", [((4, 4, 3), "images"), ((8, 2), "sequences"), ((6,), "flat vectors")])
def test_what_a_model_is_one_of(shape, events):
    assert ModelConfig(name="mine", image_shape=shape, layers=()).events == events


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (glow((32, 16, 3), K=4, L=3, width=4, n_bits=5), "glow of images 32x16x3, 5 bits, 3 levels, K=4"),
        (ModelConfig(name="mine", image_shape=(6,), layers=()), "mine of flat vectors 6, 8 bits, 1 level"),
    ],
)
def test_a_model_in_a_line(config, line):
    assert config.describe() == line


def model(*layers, image_shape=(4, 4, 3), **fields):
    return ModelConfig(name="mine", image_shape=image_shape, layers=layers, **fields)


def steps(**fields):
    return layers.Steps(**{"depth": 1, "network": networks.Cnn(width=2), **fields})


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: model(image_shape=(2, 4, 4, 3)), r"image_shape=\(2, 4, 4, 3\) must be .*, \(length, channels\)"),
        (lambda: model(image_shape=()), r"image_shape=\(\) must be"),
        (lambda: model(image_shape=(4, 0, 3)), r"image_shape=\(4, 0, 3\) must be"),
        (lambda: model("Squeeze"), r"layers\[0\]='Squeeze' is not a layer; known are .*Squeeze"),
        (lambda: model(layers.Squeeze(), image_shape=(4, 3, 1)), r"layers\[0\] \(Squeeze\) .* it gets \(4, 3, 1\)"),
        (lambda: model(layers.Flatten(), layers.Squeeze()), r"layers\[1\] \(Squeeze\) .* it gets \(48,\)"),
        (
            lambda: model(layers.Squeeze(factor=3)),
            r"\(Squeeze\) needs an image with sides that are multiples of factor=3; it gets \(4, 4, 3\)",
        ),
        (
            lambda: model(layers.Squeeze(), image_shape=(9, 2)),
            r"\(Squeeze\) needs a sequence with a length that is a multiple of factor=2; it gets \(9, 2\)",
        ),
        (lambda: layers.Squeeze(factor=0), "factor=0 must be an integer of at least 1"),
        (lambda: layers.Squeeze(factor=2.0), "factor=2.0 must be an integer"),
        (lambda: layers.Squeeze(order="pixels"), "order='pixels' is not one of 'channel_major', 'position_major'"),
        (lambda: model(layers.Split()), r"layers\[0\] \(Split\) needs an even number of channels"),
        (lambda: model(layers.Flatten(), layers.Split()), r"\(Split\) has a convolutional prior and needs \(H, W, C\)"),
        (lambda: model(steps()), "halves the channels and needs an even number"),
        (lambda: model(layers.Flatten(), steps()), r"convolutional network and needs \(H, W, C\)"),
        (
            lambda: model(steps(partition=partitions.Checkerboard()), image_shape=(1, 1, 4)),
            "checkerboard mask and needs more than one position",
        ),
        (lambda: model(layers.Flatten(), layers.TopPrior()), r"\(TopPrior\) needs \(H, W, C\) or \(T, C\)"),
        (lambda: model(layers.TopPrior(num_classes=3)), "conditioned on 3 labels, and the model has num_classes=0"),
        (lambda: Uniform(n_bits=True), "n_bits=True must be an integer"),
        (lambda: Uniform(n_bits=8.0), "n_bits=8.0 must be an integer"),
        (lambda: steps(depth=0), "depth=0"),
        (lambda: networks.Cnn(width=-1), "width=-1"),
        (lambda: networks.Resnet(width=4, blocks=0), "blocks=0"),
        (lambda: steps(partition="stripes"), "partition='stripes' is not a partition; known are .*Checkerboard"),
        (lambda: steps(network="unet"), "network='unet' is not a network; known are .*Cnn"),
        (lambda: steps(coupling=transforms.Affine), "coupling=.* is not a transform"),
        (
            lambda: steps(network=networks.Resnet(width=4), coupling=transforms.Additive()),
            "network=Resnet gives 2 parameters an element, and coupling=Additive takes 1: .* Resnet with bounded=False",
        ),
        (lambda: layers.Logit(alpha=0.5), "alpha=0.5 must lie strictly between"),
        (lambda: layers.TopPrior(learned=False), "learned, conditional"),
    ],
)
def test_errors_name_the_field(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        glow().n_bits = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        layers.Squeeze().factor = 3


def test_kernels_of_a_list():
    description = model(layers.Squeeze(), steps(network=networks.Cnn(width=2, kernels=[3, 1, 1])))
    assert ModelConfig.from_json(description.to_json()) == description
    assert hash(description) == hash(model(layers.Squeeze(), steps(network=networks.Cnn(width=2, kernels=(3, 1, 1)))))


def test_numpy_integers():
    two = np.int64(2)
    description = glow(tuple(np.array([8, 8, 3])), K=two, L=np.int32(1), width=two, num_classes=two)
    assert description == glow((8, 8, 3), K=2, L=1, width=2, num_classes=2)
    assert ModelConfig.from_json(description.to_json()) == description
    with pytest.raises(ValueError, match="num_classes=.*must be an integer of at least 0"):
        glow((8, 8, 3), K=1, L=1, width=2, num_classes=np.True_)


def test_importing_it_imports_neither_absl_nor_tensorflow():
    code = (
        "import sys\nfrom glow_tf import ModelConfig\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('absl', 'tensorflow', 'numpy', 'keras')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert importlib.util.find_spec("tensorflow") is not None


def test_what_gives_a_classifier_the_labels():
    """The classifier reads the top variables before the prior whitens them."""
    shared = {"image_shape": (8, 8, 3), "K": 1, "L": 1, "width": 2, "num_classes": 3}
    assert not glow(**shared, classifier=True).classifier_is_given_labels
    assert not glow(**shared, conditional_couplings=True).classifier_is_given_labels
    couplings = glow(**shared, classifier=True, conditional=False, conditional_couplings=True)
    assert couplings.classifier_is_given_labels
    # A model of this kind can be stored: its likelihoods and samples are valid.
    assert ModelConfig.from_json(couplings.to_json()) == couplings
    noise = Variational(network=networks.Cnn(width=2, num_classes=3))
    assert glow(**shared, classifier=True, conditional=False, dequantizer=noise).classifier_is_given_labels


def test_levels():
    assert glow((32, 16, 3), K=1, L=3, width=4).levels == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert nice((4, 6, 1)).levels == [1, 1, 1]
    assert ModelConfig(name="empty", image_shape=(3,), layers=()).levels == []


def test_an_unbounded_resnet_takes_a_transform_of_any_number_of_parameters():
    network = networks.Resnet(width=4, bounded=False)
    assert steps(network=network, coupling=transforms.Additive()).network == network
