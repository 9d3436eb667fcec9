"""Conversion of flags to configs."""

import dataclasses
import pathlib

import pytest
from absl import flags
from absl.testing import flagsaver

import glow_tf
from glow_tf import options
from glow_tf.dequantization import Variational
from glow_tf.networks import Cnn, GatedAttention, GatedConvolutions, Resnet
from glow_tf.partitions import Positions
from glow_tf.training.config import TrainingConfig
from glow_tf.transforms import MixtureLogistic, RationalQuadraticSpline

ROOT = pathlib.Path(__file__).parent.parent
FLAGFILES = sorted((ROOT / "glow_tf" / "flagfiles").glob("*.flags"))
IMAGE = (32, 32, 3)
# The program initialises from 256 images of this size, as the official code does.
DEFAULTS = TrainingConfig(init_images=256)
# A non-default value for each field.
OTHER = {
    "batch_size": 6,
    "accumulate_steps": 2,
    "network_precision": "tf32",
    "xla": True,
    "checkpoint_minutes": 2.5,
    "keep_every_hours": 1.5,
    "max_skipped": 19,
    "max_rollbacks": 20,
    "steps": 7,
    "learning_rate": 0.5,
    "lr_schedule": "linear",
    "optimizer": "adam",
    "beta1": 0.25,
    "beta2": 0.375,
    "epsilon": 0.0625,
    "weight_decay": 0.4375,
    "warmup_steps": 8,
    "clip_norm": 0.25,
    "ema_decay": 0.75,
    "label_loss_weight": 0.125,
    "labels_per_class": 21,
    "labelled_only": True,
    "flip": True,
    "shift": 2,
    "seed": 9,
    "init_images": 10,
    "init_from": "other",
    "steps_per_call": 11,
    "log_every": 12,
    "eval_every": 13,
    "eval_images": 14,
    "early_stop": 20,
    "sample_every": 15,
    "samples": 16,
    "temperature": 0.625,
    "checkpoint_every": 17,
    "keep_checkpoints": 18,
    "tracker": "wandb",
}
# Other fields that a field needs.
WITH = {
    "weight_decay": {"optimizer": "adamw"},
    "labels_per_class": {"label_loss_weight": 0.5},
    "labelled_only": {"label_loss_weight": 0.5, "labels_per_class": 21},
}


@pytest.fixture
def parse():
    """Parses a command line; restores every flag afterwards."""
    saved = flagsaver.save_flag_values()

    def parse(*arguments):
        flags.FLAGS(["main", *arguments])

    parse()
    yield parse
    flagsaver.restore_flag_values(saved)


def test_the_defaults_are_those_of_the_config_and_of_the_models(parse):
    assert options.training_config(IMAGE, 1) == DEFAULTS
    assert options.model_config(IMAGE, 0) == glow_tf.glow(IMAGE)
    assert options.model_config(IMAGE, 7) == glow_tf.glow(IMAGE)
    assert options.image_size() is None
    assert options.model_dir() == pathlib.Path("runs/people_glow")
    assert options.source_arguments()["name"] == "people"


def fields():
    return [field.name for field in dataclasses.fields(TrainingConfig)]


@pytest.mark.parametrize("name", fields())
def test_every_field_of_the_training_config_has_its_flag(parse, name):
    assert OTHER.get(name, getattr(TrainingConfig(), name)) != getattr(TrainingConfig(), name), "add it to OTHER"
    values = {name: OTHER[name], **WITH.get(name, {})}
    parse(*(f"--{flag}={str(value).lower()}" for flag, value in values.items()))
    assert options.training_config(IMAGE, 1) == dataclasses.replace(DEFAULTS, **values)


def test_adamw_decays_weights_unless_told_how_much(parse):
    parse("--optimizer=adamw")
    assert options.training_config(IMAGE, 1).weight_decay == 0.004
    parse("--weight_decay=0")
    with pytest.raises(ValueError, match="needs a weight_decay above 0"):
        options.training_config(IMAGE, 1)
    parse("--optimizer=adam", "--weight_decay=0.1")
    with pytest.raises(ValueError, match="weight_decay=0.1 does not apply to optimizer='adam'"):
        options.training_config(IMAGE, 1)


@pytest.mark.parametrize(
    ("arguments", "precision"),
    [
        ([], "float32"),
        (["--mixed_precision"], "bfloat16"),
        (["--mixed_precision", "--network_precision=bfloat16"], "bfloat16"),
        (["--nomixed_precision", "--network_precision=tf32"], "tf32"),
    ],
)
def test_the_precision_of_networks(parse, arguments, precision):
    parse(*arguments)
    assert options.training_config(IMAGE, 1).network_precision == precision


def test_two_names_for_one_precision_must_agree(parse):
    parse("--mixed_precision", "--network_precision=tf32")
    with pytest.raises(ValueError, match="--mixed_precision is --network_precision=bfloat16, not tf32"):
        options.training_config(IMAGE, 1)


@pytest.mark.parametrize(("gpu", "arguments"), [(True, []), (True, ["--noxla"]), (False, []), (False, ["--xla"])])
def test_xla_compiles_where_there_is_a_gpu_unless_told_otherwise(parse, monkeypatch, gpu, arguments):
    monkeypatch.setattr(options, "has_gpu", lambda: gpu)
    parse(*arguments)
    assert options.training_config(IMAGE, 1).xla == (gpu if not arguments else arguments == ["--xla"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--K=2", "--L=1", "--width=8"], glow_tf.glow(IMAGE, K=2, L=1, width=8)),
        (
            ["--coupling=additive", "--permutation=shuffle"],
            glow_tf.glow(IMAGE, coupling="additive", permutation="shuffle"),
        ),
        (["--coupling=spline"], glow_tf.glow(IMAGE, coupling="spline")),
        (["--kernels=3,1,1", "--width=8"], glow_tf.glow(IMAGE, network=Cnn(width=8, kernels=(3, 1, 1)))),
        (["--coupling=spline", "--spline_bins=5"], glow_tf.glow(IMAGE, coupling=RationalQuadraticSpline(bins=5))),
        (["--coupling=mixture_logistic"], glow_tf.glow(IMAGE, coupling="mixture_logistic")),
        (
            ["--coupling=mixture_logistic", "--mixture_components=3"],
            glow_tf.glow(IMAGE, coupling=MixtureLogistic(components=3)),
        ),
        (["--nolearn_top", "--n_bits=5"], glow_tf.glow(IMAGE, learn_top=False, n_bits=5)),
        (["--gradient=stored"], glow_tf.glow(IMAGE, gradient="stored")),
        (["--conditional"], glow_tf.glow(IMAGE, num_classes=4)),
        (
            ["--conditional", "--conditional_couplings"],
            glow_tf.glow(IMAGE, num_classes=4, conditional_couplings=True),
        ),
        (
            ["--conditional_couplings"],
            glow_tf.glow(IMAGE, num_classes=4, conditional=False, conditional_couplings=True),
        ),
        (
            ["--label_loss_weight=0.01"],
            glow_tf.glow(IMAGE, num_classes=4, conditional=False, classifier=True),
        ),
        (
            ["--conditional", "--label_loss_weight=0.01"],
            glow_tf.glow(IMAGE, num_classes=4, classifier=True),
        ),
        (["--model=real_nvp", "--blocks=1", "--L=2"], glow_tf.real_nvp(IMAGE, L=2, blocks=1)),
        (["--model=nice", "--K=3", "--base=normal"], glow_tf.nice(IMAGE, K=3, base="normal")),
        (["--dequantization=uniform"], glow_tf.glow(IMAGE)),
        *(
            (
                [f"--model={name}", "--dequantization=variational", "--n_bits=5"],
                getattr(glow_tf, name)(IMAGE, dequantizer=Variational(n_bits=5)),
            )
            for name in options.MODELS
            if name != "flow_plus_plus"
        ),
        (["--model=flow_plus_plus", "--dequantization=variational"], glow_tf.flow_plus_plus(IMAGE)),
        (["--model=flow_plus_plus", "--dequantization=uniform"], glow_tf.flow_plus_plus(IMAGE, dequantizer="uniform")),
        (
            ["--model=flow_plus_plus", "--dequantization_width=8", "--width=16", "--blocks=1"],
            glow_tf.flow_plus_plus(
                IMAGE,
                width=16,
                blocks=1,
                dequantizer=Variational(
                    depth=4,
                    network=GatedAttention(width=8, blocks=2, heads=4, dropout=0.2, image_channels=32),
                    coupling=MixtureLogistic(components=32),
                    partition=Positions(),
                    features=GatedConvolutions(dropout=0.2),
                ),
            ),
        ),
        (
            ["--dequantization=variational", "--dequantization_width=8", "--dequantization_depth=2"],
            glow_tf.glow(IMAGE, dequantizer=Variational(depth=2, network=Resnet(width=8, blocks=1))),
        ),
        (
            ["--dequantization=variational", "--conditional"],
            glow_tf.glow(IMAGE, num_classes=4, dequantizer="variational"),
        ),
        (["--model=flow_plus_plus"], glow_tf.flow_plus_plus(IMAGE)),
        (
            ["--model=flow_plus_plus", "--couplings=0+1, 2+3", "--width=6", "--blocks=1", "--heads=2", "--dropout=0"],
            glow_tf.flow_plus_plus(IMAGE, ((0, 1), (2, 3)), 6, 1, 2, 0.0),
        ),
        (
            ["--model=flow_plus_plus", "--conditional_couplings", "--coupling=affine"],
            glow_tf.flow_plus_plus(
                IMAGE, coupling="affine", num_classes=4, conditional=False, conditional_couplings=True
            ),
        ),
        (
            ["--model=flow_plus_plus", "--conditional", "--label_loss_weight=1"],
            glow_tf.flow_plus_plus(IMAGE, num_classes=4, classifier=True),
        ),
        (
            ["--model=jet", "--K=3", "--width=6", "--blocks=1", "--heads=2", "--patch_size=8", "--dropout=0.1"],
            glow_tf.jet(IMAGE, 3, 6, 1, 2, 8, 0.1),
        ),
        (
            ["--model=flow_plus_plus", "--variant=imagenet32", "--permutation=none"],
            glow_tf.flow_plus_plus(IMAGE, permutation="none", variant="imagenet32"),
        ),
        (["--model=jet", "--conditional"], glow_tf.jet(IMAGE, num_classes=4)),
    ],
)
def test_flags_of_the_models(parse, arguments, expected):
    parse(*arguments)
    assert options.model_config(IMAGE, 4) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=nice", "--L=2"], "--L does not apply to --model=nice"),
        (["--model=real_nvp", "--coupling=affine", "--learn_top"], "--coupling, --learn_top does not apply"),
        (["--blocks=2"], "--blocks does not apply to --model=glow"),
        (["--base=normal"], "--base does not apply to --model=glow"),
        (["--model=nice", "--conditional"], "^--conditional does not apply to --model=nice"),
        (["--model=real_nvp", "--label_loss_weight=0.1"], "^--label_loss_weight does not apply to --model=real_nvp"),
        (
            ["--model=nice", "--conditional_couplings", "--label_loss_weight=1"],
            "^--conditional_couplings, --label_loss_weight does not apply",
        ),
        (["--model=jet", "--patch_size=3"], "^patch_size=3 must be even"),
        (["--model=flow_plus_plus", "--couplings=0+0,0+0"], "must have at least one coupling"),
        (["--L=6"], "32x32 cannot be squeezed 6 times"),
        (["--spline_bins=5"], "--spline_bins does not apply to --coupling=affine; it needs --coupling=spline"),
        (["--coupling=spline", "--mixture_components=5"], "--mixture_components does not apply to --coupling=spline"),
        (["--model=nice", "--mixture_components=5"], "--mixture_components does not apply to --model=nice"),
        (["--dequantization_width=8"], "--dequantization_width is for --dequantization=variational"),
        (
            ["--dequantization=uniform", "--dequantization_width=8", "--dequantization_depth=2"],
            "--dequantization_width, --dequantization_depth is for --dequantization=variational, not uniform",
        ),
        (["--heads=2", "--dropout=0.1"], "--heads, --dropout does not apply to --model=glow"),
        (["--kernels=3,1"], "--kernels=3,1 must be three odd numbers, such as 3,1,3"),
        (["--kernels=3,2,1"], "--kernels=3,2,1 must be three odd numbers"),
        (["--kernels=3,-1,1"], "--kernels=3,-1,1 must be three odd numbers"),
        (["--kernels=3,1,x"], "--kernels=3,1,x must be three odd numbers"),
        (["--model=jet", "--kernels=3,1,1"], "--kernels does not apply to --model=jet"),
        (["--couplings=0+4"], "--couplings does not apply to --model=glow"),
        (["--variant=cifar10"], "--variant does not apply to --model=glow"),
        (["--permutation=none"], "permutation='none' is not one of 'conv1x1'"),
        (["--model=jet", "--L=2"], "--L does not apply to --model=jet"),
        (["--model=flow_plus_plus", "--patch_size=2"], "--patch_size does not apply to --model=flow_plus_plus"),
        (["--model=flow_plus_plus", "--dropout=1"], "dropout=1.0 must be at least 0 and less than 1"),
        *(
            (["--model=flow_plus_plus", f"--couplings={value}"], "--couplings=.* must be two numbers for each scale")
            for value in ("", "4", "0+4,2", "1+2+3", "0+-1", "a+b", "0+4,,2+3")
        ),
    ],
)
def test_flags_that_do_not_apply(parse, arguments, message):
    parse(*arguments)
    with pytest.raises(ValueError, match=message):
        options.model_config(IMAGE, 4)


@pytest.mark.parametrize("argument", ["--conditional", "--conditional_couplings", "--label_loss_weight=1"])
def test_labels_that_are_not_there(parse, argument):
    parse(argument)
    with pytest.raises(ValueError, match=f"{argument.partition('=')[0]}: labels are needed, and people has none"):
        options.model_config(IMAGE, 0)


@pytest.mark.parametrize(
    ("value", "size"), [("64", 64), ("64,32", (64, 32)), (" 64 , 32", (64, 32)), ("64,64", (64, 64))]
)
def test_image_size(parse, value, size):
    parse(f"--image_size={value}")
    assert options.image_size() == size
    assert options.source_arguments()["image_size"] == size


@pytest.mark.parametrize("value", ["", "0", "-3", "1.5", "64x64", "1,2,3", "64,", "a"])
def test_wrong_image_sizes(parse, value):
    parse(f"--image_size={value}")
    with pytest.raises(ValueError, match="--image_size="):
        options.image_size()


# The defaults of the papers and their code for each data set: flip, shift, bits.
BY_DATA_SET = {
    "people": (False, 0, 8),
    "folder": (False, 0, 8),
    "cifar10": (False, 3, 8),
    "cifar10:3.0.2": (False, 3, 8),
    "mnist": (False, 3, 8),
    "celeb_a": (True, 0, 8),
    "celeb_a_hq": (False, 0, 5),
    "imagenet_resized/64x64": (False, 0, 8),
    "lsun/bedroom": (False, 0, 8),
}


@pytest.mark.parametrize("dataset", BY_DATA_SET)
def test_defaults_by_data_set(parse, dataset):
    parse(f"--dataset={dataset}")
    training, model = options.training_config(IMAGE, 1), options.model_config(IMAGE, 10)
    assert (training.flip, training.shift, model.n_bits) == BY_DATA_SET[dataset]


def test_flags_have_precedence_over_the_data_set(parse):
    parse("--dataset=celeb_a", "--noflip", "--shift=2", "--n_bits=3")
    training, model = options.training_config(IMAGE, 1), options.model_config(IMAGE, 10)
    assert (training.flip, training.shift, model.n_bits) == (False, 2, 3)
    parse("--dataset=cifar10", "--shift=0", "--flip")
    training = options.training_config(IMAGE, 1)
    assert (training.flip, training.shift) == (True, 0)


@pytest.mark.parametrize(("side", "samples"), [(8, 64), (64, 64), (65, 16), (256, 16)])
def test_the_default_grid_of_samples(parse, side, samples):
    assert options.training_config((side, side, 3), 1).samples == samples
    parse("--samples=5")
    assert options.training_config((side, side, 3), 1).samples == 5


@pytest.mark.parametrize(
    ("side", "arguments", "images"),
    [
        *((32, [], 256), (64, [], 64), (256, [], 4), (8, [], 256), (1024, [], 1)),
        *((32, ["--batch_size=512"], 512), (256, ["--batch_size=40"], 40), (64, ["--batch_size=8"], 64)),
        *((32, ["--init_images=0"], 0), (32, ["--init_images=3"], 3)),
    ],
)
def test_the_default_batch_of_the_initialisation(parse, side, arguments, images):
    parse(*arguments)
    assert options.training_config((side, side, 3), 1).init_images == images


def test_a_batch_for_the_initialisation_needs_something_that_is_initialised(parse):
    parse("--model=jet")
    options.check()
    parse("--init_images=8")
    with pytest.raises(ValueError, match="--init_images=8 does not apply to --model=jet"):
        options.check()
    parse("--dequantization=variational")
    options.check()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"name": "mirrored", "num_replicas": None}),
        (["--strategy=one_device"], {"name": "one_device", "num_replicas": None}),
        (["--strategy=multi_worker", "--num_replicas=2"], {"name": "multi_worker", "num_replicas": 2}),
        (["--strategy=tpu"], {"name": "tpu", "num_replicas": None}),
    ],
)
def test_devices(parse, arguments, expected):
    parse(*arguments)
    others = {"deterministic": False, "cluster": None, "cluster_port": None}
    assert options.strategy_arguments() == {**expected, **others}


def test_a_cluster_is_of_several_machines(parse):
    parse("--cluster=slurm", "--cluster_port=9000")
    found = options.strategy_arguments()
    assert (found["name"], found["cluster"], found["cluster_port"]) == ("multi_worker", "slurm", 9000)
    # An incompatible strategy is refused when it is created.
    parse("--cluster=slurm", "--strategy=mirrored")
    assert options.strategy_arguments()["name"] == "mirrored"


def test_every_flag_of_the_data_arrives(parse):
    assert {name for name, value in options.source_arguments().items() if value is not None} == {"name"}
    given = {"data_dir": "photos", "channels": 1, "crop_from": 96, "test_fraction": 0.25, "test_size": 7}
    parse("--dataset=folder", "--image_size=64", *(f"--{name}={value}" for name, value in given.items()), "--upscale")
    assert options.source_arguments() == {"name": "folder", "image_size": 64, "upscale": True, **given}


@pytest.mark.parametrize(
    ("shape", "replicas", "batch_size"),
    [((32, 32, 3), 1, 64), ((64, 64, 3), 1, 16), ((256, 256, 3), 1, 1), ((256, 256, 3), 8, 8), ((32, 32, 3), 3, 63)],
)
def test_the_default_batch_is_the_official_one(parse, shape, replicas, batch_size):
    assert options.training_config(shape, replicas).batch_size == batch_size


@pytest.mark.parametrize("replicas", [1, 3, 8])
@pytest.mark.parametrize("side", [4, 8, 28, 48])
def test_the_default_batch_is_divided_evenly(parse, side, replicas):
    batch_size = options.training_config((side, side, 1), replicas).batch_size
    assert batch_size % replicas == 0
    assert batch_size <= 256 + replicas


@pytest.mark.parametrize(
    ("side", "replicas", "parts", "batch_size"), [(32, 1, 4, 64), (256, 1, 4, 4), (64, 2, 3, 12), (32, 3, 2, 60)]
)
def test_the_default_batch_is_divided_into_parts(parse, side, replicas, parts, batch_size):
    parse(f"--accumulate_steps={parts}")
    assert options.training_config((side, side, 3), replicas).batch_size == batch_size


@pytest.mark.parametrize("name", ["accumulate_steps", "steps", "keep_checkpoints", "max_skipped", "log_every"])
def test_a_count_of_nought_is_named(parse, name):
    parse(f"--{name}=0")
    with pytest.raises(ValueError, match=f"{name}=0"):
        options.training_config(IMAGE, 1)


@pytest.mark.parametrize(
    "argument",
    [
        "--K=0",
        "--n_bits=9",
        "--model=vae",
        "--coupling=cubic",
        "--steps=many",
        "--strategy=cluster",
        "--num_replicas=0",
        "--foo",
    ],
)
def test_absl_refuses_what_is_out_of_range(parse, argument):
    with pytest.raises(flags.Error):
        parse(argument)


def test_the_default_directory_is_a_name_without_slashes(parse):
    parse("--dataset=imagenet_resized/32x32", "--model=nice")
    assert options.model_dir() == pathlib.Path("runs/imagenet_resized_32x32_nice")
    parse("--model_dir=here")
    assert options.model_dir() == pathlib.Path("here")


@pytest.mark.parametrize("file", FLAGFILES, ids=[file.stem for file in FLAGFILES])
def test_flagfiles_parse_and_build(parse, file):
    parse(f"--flagfile={file}")
    size = options.image_size()
    # If a file names no size, that of the data set applies, which is always 32x32 or 28x28.
    shape = (28, 28, 1) if "mnist" in file.stem and size is None else (32, 32, options.FLAGS.channels or 3)
    if size is not None:
        shape = (*((size, size) if isinstance(size, int) else size), options.FLAGS.channels or 3)
    config = options.model_config(shape, 10)
    assert config.image_shape == shape
    assert options.training_config(shape, 1).steps >= 1


def test_there_are_flagfiles():
    assert FLAGFILES


def test_every_flag_is_explained():
    for flag in flags.FLAGS.flags_by_module_dict()["glow_tf.options"]:
        assert flag.help, flag.name
