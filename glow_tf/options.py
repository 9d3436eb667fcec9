"""The command-line flags of the training program, and the settings that they describe."""

import dataclasses
import inspect
import pathlib
from typing import Any

from absl import flags

from glow_tf import transforms
from glow_tf.config import BASES, ModelConfig
from glow_tf.data import recipe
from glow_tf.dequantization import NAMED as DEQUANTIZERS
from glow_tf.dequantization import Dequantizer, Variational
from glow_tf.layers.steps import PERMUTATIONS
from glow_tf.mode import GRADIENTS, NETWORK_PRECISIONS
from glow_tf.models import presets, storage
from glow_tf.runtime.devices import has_gpu
from glow_tf.runtime.runtime import Runtime
from glow_tf.shared_flags import define_flip, define_max_megapixels, define_path, define_plugins, define_shift
from glow_tf.training import model_directory
from glow_tf.training.config import LR_SCHEDULES, OPTIMIZERS, TrainingConfig, defaults_for
from glow_tf.training.devices import CLUSTERS, STRATEGIES, check_strategy, sharding_runtime

MODELS = {
    "glow": presets.glow,
    "flow_plus_plus": presets.flow_plus_plus,
    "jet": presets.jet,
    "real_nvp": presets.real_nvp,
    "nice": presets.nice,
}
_DEFAULTS = TrainingConfig()

# Data.
flags.DEFINE_string(
    "dataset",
    "people",
    "Data set: 'people', the bundled emoji portraits; 'folder', the images under --data_dir; 'arrays', the .npz "
    "or .npy file --data_dir; or an image data set of TensorFlow Datasets by its name, such as cifar10, celeb_a_hq or "
    "imagenet_resized/32x32.",
)
define_path(
    "data_dir",
    None,
    "The folder for --dataset=folder (its sub-folders are the labels), the file for --dataset=arrays, the place where "
    "TensorFlow Datasets keeps its data otherwise.",
)
flags.DEFINE_list(
    "image_size",
    None,
    "Side of the images in pixels, or height,width. They are resized to cover it and cropped at the centre. Needed "
    "where the data has no size of its own.",
)
flags.DEFINE_integer("channels", None, "1 for grey, 3 for colour; by default as the data is.", lower_bound=1)
flags.DEFINE_float(
    "test_fraction",
    None,
    "Fraction of the images to hold out if the data has no test split of its own (0.1; 0.05 of TensorFlow Datasets).",
    0.0,
    1.0,
)
flags.DEFINE_integer("test_size", None, "Number of images held out, instead of --test_fraction; not for folders.", 1)
flags.DEFINE_integer(
    "crop_from",
    None,
    "Resizes the shorter side of the images to this many pixels; trains on random crops of --image_size, and evaluates "
    "on central ones.",
    lower_bound=1,
)
flags.DEFINE_bool(
    "upscale",
    None,
    "Enlarges images that are smaller than --image_size. By default, those of a folder are left out, and those of "
    "other data are enlarged, which --noupscale refuses.",
)
define_flip()
define_shift()
define_max_megapixels()

# Model. A default of None stands for the model's own, which is that of the paper.
flags.DEFINE_enum("model", "glow", list(MODELS), "The family of flows.")
flags.DEFINE_integer("K", None, "Depth: steps per level (glow; 32), or couplings (jet 32, nice 4).", lower_bound=1)
flags.DEFINE_integer("L", None, "Levels (glow; 3), or halvings of the image (real_nvp; down to 4x4).", lower_bound=1)
flags.DEFINE_integer(
    "width",
    None,
    "Hidden channels of the coupling networks (glow 512, flow_plus_plus 96, jet 512, real_nvp 32, nice 1000).",
    lower_bound=1,
)
flags.DEFINE_list(
    "kernels",
    None,
    "Sizes of the three kernels of a coupling network (glow; 3,1,3). Most of the work for mixtures is in the last one.",
)
flags.DEFINE_integer(
    "blocks",
    None,
    "Blocks (flow_plus_plus 10, jet 2, real_nvp 4), or hidden layers (nice; 5), of a coupling network.",
    lower_bound=1,
)
flags.DEFINE_list(
    "couplings",
    None,
    "Couplings at each scale, as many by channels + as many by positions (flow_plus_plus; 0+4,2+3).",
)
flags.DEFINE_enum(
    "variant",
    None,
    list(presets.FLOW_PLUS_PLUS_VARIANTS),
    "Data set whose official settings the networks, the dequantization and the squeezes follow (flow_plus_plus; "
    "cifar10). imagenet32 and imagenet64 differ in the variational dequantization alone.",
)
flags.DEFINE_integer(
    "heads", None, "Heads of each attention in the coupling networks (flow_plus_plus 4, jet 8).", lower_bound=1
)
flags.DEFINE_integer("patch_size", None, "Side of the patches that are tokens, even (jet; 4).", lower_bound=1)
flags.DEFINE_float(
    "dropout",
    None,
    "Dropout rate of the coupling networks in training (flow_plus_plus 0.2, jet 0).",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_enum(
    "coupling",
    None,
    list(presets.COUPLINGS),
    "Kind of coupling (glow affine, flow_plus_plus mixture_logistic): scale and shift, shift, log-odds of a mixture of "
    "logistics, rational quadratic spline.",
)
flags.DEFINE_integer(
    "mixture_components",
    None,
    "Logistics of each mixture (--coupling=mixture_logistic; glow 8, flow_plus_plus 32).",
    1,
    upper_bound=1000,
)
flags.DEFINE_integer("spline_bins", None, "Bins of each spline (--coupling=spline; 8).", 2, upper_bound=500)
# The coupling that each flag applies to, and the field of its transform.
_COUPLING_FIELDS = {"mixture_components": ("mixture_logistic", "components"), "spline_bins": ("spline", "bins")}
flags.DEFINE_enum(
    "permutation",
    None,
    list(PERMUTATIONS),
    "Permutation of the channels before each coupling (glow, flow_plus_plus; conv1x1): a learned 1x1 convolution in "
    "PLU form or as a dense matrix, a fixed shuffle, a reversal, or none (flow_plus_plus).",
)
flags.DEFINE_bool("learn_top", None, "Learns mean and scale of the top prior (glow; true).")
flags.DEFINE_enum("base", None, list(BASES), "Distribution of the latents (nice; logistic).")
flags.DEFINE_integer(
    "n_bits",
    None,
    "Bits of each colour channel that are modelled; by default as the papers do with the data set, else 8.",
    lower_bound=1,
    upper_bound=8,
)
flags.DEFINE_enum(
    "dequantization",
    None,
    list(DEQUANTIZERS),
    "Noise that turns pixels into real numbers (uniform; flow_plus_plus variational): uniform, or variational, from a "
    "conditional flow that is trained jointly with the model.",
)
flags.DEFINE_integer(
    "dequantization_width",
    None,
    "Hidden channels of the networks of variational dequantization (32; flow_plus_plus: as --width).",
    lower_bound=1,
)
flags.DEFINE_integer(
    "dequantization_depth",
    None,
    "Couplings of variational dequantization (4; 8 with --variant=imagenet32).",
    lower_bound=1,
)
flags.DEFINE_enum(
    "gradient",
    None,
    list(GRADIENTS),
    "Rebuilds activations backwards, so that memory does not grow with K (reversible, the default), or stores them.",
)
flags.DEFINE_bool(
    "conditional", False, "Conditions the top prior on the labels of the data (glow, flow_plus_plus, jet)."
)
flags.DEFINE_bool(
    "conditional_couplings",
    False,
    "Conditions the coupling networks on the labels too, with biases for each label (glow, flow_plus_plus, jet).",
)
flags.DEFINE_float(
    "label_loss_weight",
    _DEFAULTS.label_loss_weight,
    "Adds a linear classifier on the top latent, and its loss in bits, times this weight, to bits/dim (glow, "
    "flow_plus_plus, jet; the official code of Glow has 0.01 for its conditional model). Not for "
    "--conditional_couplings, which would give the classifier the labels.",
    lower_bound=0.0,
)

flags.DEFINE_bool(
    "labelled_only",
    _DEFAULTS.labelled_only,
    "Trains only on the images that --labels_per_class chooses.",
)

define_path(
    "init_from",
    _DEFAULTS.init_from,
    "Model directory whose weights a new run starts from, such as one written by glow import_openai; 'pretrained' and "
    "'pretrained_32' are the models that come with the package. A run that continues keeps its own.",
    for_tensorflow=True,
)

# Devices.
flags.DEFINE_enum(
    "strategy",
    "mirrored",
    list(STRATEGIES),
    "Devices that train: all GPUs of this machine, or its CPU (mirrored); those of several machines, which TF_CONFIG "
    "or --cluster names (multi_worker); a TPU (tpu); the first GPU or the CPU (one_device).",
)
flags.DEFINE_enum(
    "cluster",
    None,
    list(CLUSTERS),
    "Source of the list of workers, and of this one's place in it, in place of TF_CONFIG: slurm, the job step started "
    "by srun. With it, --strategy=multi_worker is the default.",
)
flags.DEFINE_integer(
    "cluster_port",
    None,
    "First port that the tasks of a machine listen on (--cluster=slurm); by default one derived from the job ID, from "
    "12000 on.",
    lower_bound=1,
    upper_bound=65535,
)
flags.DEFINE_integer(
    "num_replicas",
    None,
    "Number of this machine's GPUs to use (all); without a GPU, number of devices to split the CPU into (1).",
    lower_bound=1,
)
flags.DEFINE_enum(
    "network_precision",
    None,
    list(NETWORK_PRECISIONS),
    "Precision of products in the coupling networks in training: float32; tf32, operands rounded to 11 bits; or "
    "bfloat16. The flow around them, likelihood, evaluation and export stay in float32. By default float32, on GPUs "
    "too: the others are faster there, but reconstruct images less exactly.",
)
flags.DEFINE_bool("mixed_precision", False, "Another name for --network_precision=bfloat16.")
flags.DEFINE_bool(
    "xla",
    None,
    "Compiles training, evaluation and samples by XLA; by default where there is a GPU. On CPUs wide networks are many "
    "times slower with it.",
)
flags.DEFINE_bool(
    "deterministic",
    False,
    "Makes GPUs sum in the same order every time, so that a run continued there is the same to the last bit, as it "
    "always is on a CPU. Slower.",
)

# Training.
define_path(
    "model_dir",
    None,
    "Where everything is written; by default runs/<dataset>_<model>, with the folder or file name for your own data.",
    for_tensorflow=True,
)
flags.DEFINE_bool(
    "resume",
    False,
    "Continues the run in --model_dir with the data, model, training and devices recorded there. Flags given in "
    "addition override the recorded ones that may change, such as --steps.",
)
define_plugins()
flags.DEFINE_string(
    "tracker",
    _DEFAULTS.tracker,
    "Installed trackers to which metrics, settings and pictures are also written: wandb, mlflow, or both with a comma "
    "between them. Their own environment variables say where, such as WANDB_PROJECT or MLFLOW_TRACKING_URI. Continuing "
    "a run continues the tracker's run too.",
)
flags.DEFINE_bool("export", True, "Writes a SavedModel at the end, as glow export does.")
flags.DEFINE_bool("other_data", False, "Continues a run even if it was started on different images.")
flags.DEFINE_integer(
    "batch_size",
    None,
    "Images per step, over all devices together; by default 64 at 32x32, 16 at 64x64, 1 at 256x256, and so on.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "init_images",
    None,
    "Images in the batch that initialises actnorms, or nice's final scale; 0: as many as in one part of a batch, see "
    "--accumulate_steps. By default as many, but at least 256 at 32x32, 64 at 64x64, 4 at 256x256, and so on. Not for "
    "models that have neither, such as jet without --dequantization=variational.",
    lower_bound=0,
)
flags.DEFINE_integer(
    "samples", None, "Images in a grid of samples; by default 64, or 16 of images larger than 64x64.", lower_bound=1
)
_INTEGERS = {
    "accumulate_steps": "Gradient accumulation: number of parts in which each device computes its share of a batch.",
    "labels_per_class": "Training images of each class whose labels --label_loss_weight uses, chosen by --seed; the "
    "likelihood is that of all images. 0: all labels.",
    "steps": "Updates to make.",
    "warmup_steps": "Updates over which the learning rate rises linearly.",
    "seed": "Seed of initial weights, data order, noise and samples.",
    "steps_per_call": "Maximum number of updates per call of the compiled function; fewer if they take seconds.",
    "log_every": "Steps between two lines of metrics.",
    "eval_every": "Steps between two evaluations on held-out images; 0: only at the end.",
    "eval_images": "Held-out images of those evaluations, evenly spaced, or the first ones of TensorFlow Datasets; "
    "0: all. The one at the end takes all.",
    "early_stop": "Ends the run, as at its last step, after this many evaluations in a row without an improvement on "
    "the best one; 0: never. The weights of the best one are in best/.",
    "sample_every": "Steps between two grids of samples; 0: only at the end.",
    "checkpoint_every": "Steps between two checkpoints; 0: only at the end.",
    "keep_checkpoints": "Newest checkpoints that are kept.",
    "max_skipped": "Consecutive steps with a non-finite loss or gradient after which the run returns to the last "
    "checkpoint with half the learning rate. Single ones are skipped.",
    "max_rollbacks": "Number of returns to a checkpoint after which the run gives up; see --max_skipped.",
}
for _name, _help in _INTEGERS.items():
    flags.DEFINE_integer(_name, getattr(_DEFAULTS, _name), _help, lower_bound=0)
flags.DEFINE_float(
    "checkpoint_minutes",
    _DEFAULTS.checkpoint_minutes,
    "A checkpoint is also written whenever this many minutes have passed; 0: after --checkpoint_every steps only.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "keep_every_hours",
    _DEFAULTS.keep_every_hours,
    "Interval in hours at which a checkpoint is kept permanently; 0: none.",
    lower_bound=0.0,
)
flags.DEFINE_float("learning_rate", _DEFAULTS.learning_rate, "Learning rate after the warm-up.")
flags.DEFINE_enum(
    "lr_schedule",
    _DEFAULTS.lr_schedule,
    list(LR_SCHEDULES),
    "The learning rate after the warm-up: constant, or falling to 0 at the last of --steps, along a cosine or "
    "linearly. A run that is continued with other --steps goes on at the rate of a run of that many.",
)
flags.DEFINE_enum(
    "optimizer", _DEFAULTS.optimizer, list(OPTIMIZERS), "The optimizer; adamw is adam with --weight_decay."
)
flags.DEFINE_float("beta1", _DEFAULTS.beta1, "Decay rate of the first moment of the gradient.", 0.0)
flags.DEFINE_float(
    "beta2",
    _DEFAULTS.beta2,
    "Decay rate of the second moment of the gradient or, of adamax, of the maximum of its magnitude.",
    0.0,
)
flags.DEFINE_float(
    "epsilon",
    _DEFAULTS.epsilon,
    "Added to the root of the gradient's second moment or, of adamax, to the maximum of its magnitude. The gradient is "
    "that of bits/dim: an epsilon published for the nats of an image of D dimensions is divided by D log(2) here, and "
    "so is a --clip_norm.",
)
flags.DEFINE_float(
    "weight_decay",
    None,
    "Decoupled weight decay of --optimizer=adamw, for the kernels of coupling networks; not for biases, of labels too, "
    "scales, actnorms, 1x1 convolutions and priors. By default 0.004, as in Keras.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "clip_norm",
    _DEFAULTS.clip_norm,
    "Scales gradients of a larger norm down to this one: the norm over all weights of the gradient of bits/dim of the "
    "whole batch, whatever devices share it; 0: never.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "ema_decay",
    _DEFAULTS.ema_decay,
    "Decay of the moving average of the weights, which evaluation, samples and export use; 0: the weights as they are.",
    lower_bound=0.0,
)
flags.DEFINE_float("temperature", _DEFAULTS.temperature, "Temperature of the grids of samples.", lower_bound=0.0)

FLAGS = flags.FLAGS


def image_size() -> int | tuple[int, int] | None:
    """Returns the value of --image_size.

    Raises:
      ValueError: if it is neither one nor two positive integers.
    """
    if FLAGS.image_size is None:
        return None
    sizes = _whole_numbers(FLAGS.image_size)
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise ValueError(f"--image_size={','.join(FLAGS.image_size)} must be a side or height,width in pixels.")
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def check(*, model: bool = True) -> None:
    """Checks what can be checked without the data, which can take hours to download and prepare.

    Args:
      model: whether the flags describe the model.

    Raises:
      ValueError: if a flag is out of range, or flags do not fit together.
    """
    image_size()
    devices = strategy_arguments()
    del devices["deterministic"]
    check_strategy(**devices)
    # What is wrong does not depend on the shape of the images, nor on the number of their labels.
    training = training_config((32, 32, 3), 1)
    if model:
        config = model_config(_image_shape_that_fits(), 1)
        training.check_model(config)
        if FLAGS["init_images"].present and not config.is_initialized_from_data:
            raise ValueError(
                f"--init_images={FLAGS.init_images} does not apply to --model={FLAGS.model} as it is: nothing in it is "
                "initialised from images."
            )


def source_arguments() -> dict:
    """Returns the arguments of `glow_tf.data.load_source`."""
    return {
        "name": FLAGS.dataset,
        "data_dir": FLAGS.data_dir,
        "image_size": image_size(),
        "channels": FLAGS.channels,
        "crop_from": FLAGS.crop_from,
        "upscale": FLAGS.upscale,
        "test_fraction": FLAGS.test_fraction,
        "test_size": FLAGS.test_size,
    }


def model_config(image_shape: tuple[int, int, int], num_classes: int) -> ModelConfig:
    """Returns the model that the flags describe, for images of `image_shape` with `num_classes` labels.

    Raises:
      ValueError: if a flag does not apply to the model, does not fit the images, or needs labels that the data lacks.
    """
    config = MODELS[FLAGS.model](image_shape, **_preset_arguments(num_classes))
    return dataclasses.replace(config, dequantizer=_adjusted(config.dequantizer))


def _image_shape_that_fits() -> tuple[int, int, int]:
    """Returns the shape of images that every number of levels, scales and patches of the flags divides."""
    halvings = max(FLAGS.L or 0, len(FLAGS.couplings or ()), 3)
    side = 4 * (FLAGS.patch_size or 1) * 2**halvings
    return side, side, FLAGS.channels or 3


def _preset_arguments(num_classes: int) -> dict[str, Any]:
    """Returns the arguments of the preset besides the image shape; raises the errors that do not depend on it."""
    preset = MODELS[FLAGS.model]
    network_flags = ("width", "blocks", "heads", "patch_size", "dropout", "variant")
    names = ("K", "L", *network_flags, "coupling", "permutation", "learn_top", "base", "n_bits", "gradient")
    given = {name: FLAGS[name].value for name in names if FLAGS[name].value is not None}
    coupling_flags = {name: FLAGS[name].value for name in _COUPLING_FIELDS if FLAGS[name].value is not None}
    if FLAGS.couplings is not None:
        given["couplings"] = _couplings()
    if FLAGS.kernels is not None:
        given["kernels"] = _kernels()
    given.setdefault("n_bits", recipe(FLAGS.dataset).n_bits)
    if FLAGS.dequantization is not None:
        given["dequantizer"] = FLAGS.dequantization
    uses_labels = {
        "conditional": FLAGS.conditional,
        "conditional_couplings": FLAGS.conditional_couplings,
        "classifier": FLAGS.label_loss_weight > 0,
    }
    if any(uses_labels.values()):
        if not num_classes:
            asking = [
                name for name in ("conditional", "conditional_couplings", "label_loss_weight") if FLAGS[name].value
            ]
            listed = " and ".join(f"--{name}" for name in asking)
            raise ValueError(f"{listed}: labels are needed, and {FLAGS.dataset} has none.")
        given.update(num_classes=num_classes, **uses_labels)
    parameters = inspect.signature(preset).parameters
    # `num_classes` comes with flags that use labels, of which those that are not set need no mention.
    foreign = [name for name in given if name not in ("num_classes", *parameters) and uses_labels.get(name, True)]
    if "coupling" not in parameters:
        foreign += coupling_flags
    if foreign:
        flag_names = {
            "classifier": "label_loss_weight",
            "dequantizer": "dequantization",
        }
        listed = ", ".join(dict.fromkeys(f"--{flag_names.get(name, name)}" for name in foreign))
        raise ValueError(f"{listed} does not apply to --model={FLAGS.model}.")
    for flag, value in coupling_flags.items():
        (coupling, field), chosen = _COUPLING_FIELDS[flag], FLAGS.coupling or parameters["coupling"].default
        if chosen != coupling:
            raise ValueError(f"--{flag} does not apply to --coupling={chosen}; it needs --coupling={coupling}.")
        given["coupling"] = dataclasses.replace(transforms.NAMED[coupling], **{field: value})
    return given


def training_config(image_shape: tuple[int, int, int], replicas: int) -> TrainingConfig:
    """Returns the training settings that the flags describe.

    Args:
      image_shape: (H, W, C) of the images.
      replicas: number of devices that share a batch.

    Raises:
      ValueError: if a flag is out of range.
    """
    defaults = {
        **_defaults_for(image_shape, replicas),
        "flip": recipe(FLAGS.dataset).flip,
        "shift": recipe(FLAGS.dataset).shift,
        "network_precision": _network_precision(),
        "xla": has_gpu(),
    }
    values = {field.name: FLAGS[field.name].value for field in dataclasses.fields(TrainingConfig)}
    return TrainingConfig(**{name: defaults[name] if value is None else value for name, value in values.items()})


def runtime(config: ModelConfig) -> Runtime:
    """Returns the runtime for training a model, with shards on a single CPU where that is faster.

    Call it before TensorFlow is initialised.
    """
    images = _defaults_for(config.image_shape, 1)["batch_size"] // max(1, FLAGS.accumulate_steps)
    one_device = strategy() in ("mirrored", "one_device") and (FLAGS.num_replicas or 1) == 1
    found = sharding_runtime(config, images if one_device else None, xla=FLAGS.xla)
    # A TPU is not seen outside the scope of its strategy.
    return dataclasses.replace(found, device="TPU") if strategy() == "tpu" else found


def strategy_arguments() -> dict:
    """Returns the arguments of `glow_tf.training.devices.make_strategy`."""
    return {
        "name": strategy(),
        "num_replicas": FLAGS.num_replicas,
        "deterministic": FLAGS.deterministic,
        "cluster": FLAGS.cluster,
        "cluster_port": FLAGS.cluster_port,
    }


def strategy() -> str:
    """Returns the value of --strategy, which is multi_worker by default if --cluster is given."""
    return "multi_worker" if FLAGS.cluster and FLAGS["strategy"].using_default_value else FLAGS.strategy


def model_dir() -> pathlib.Path:
    """Returns the value of --model_dir, or its default, which is named after the data and the model.

    Raises:
      ValueError: if it is the name of a model that ships with the package.
    """
    storage.check_not_pretrained(FLAGS.model_dir, "--model_dir")
    return pathlib.Path(FLAGS.model_dir or model_directory.default_path(FLAGS.dataset, FLAGS.data_dir, FLAGS.model))


def _couplings() -> tuple[tuple[int, int], ...]:
    pairs = [pair.split("+") for pair in FLAGS.couplings]
    if not pairs or any(len(pair) != 2 or not all(count.strip().isdigit() for count in pair) for pair in pairs):
        raise ValueError(
            f"--couplings={','.join(FLAGS.couplings)} must be two numbers for each scale, by channels + by positions, "
            "such as 0+4,2+3."
        )
    return tuple((int(by_channels), int(by_positions)) for by_channels, by_positions in pairs)


def _whole_numbers(texts: list[str]) -> list[int]:
    """Returns the numbers of a flag that lists them, with 0 for each text that is none."""
    return [int(text) if text.strip().isdigit() else 0 for text in texts]


def _kernels() -> tuple[int, int, int]:
    sides = _whole_numbers(FLAGS.kernels)
    if len(sides) != 3 or not all(side % 2 for side in sides):
        raise ValueError(f"--kernels={','.join(FLAGS.kernels)} must be three odd numbers, such as 3,1,3.")
    return tuple(sides)


def _adjusted(dequantizer: Dequantizer) -> Dequantizer:
    """Returns a model's dequantizer, with the width and depth given by flags, if any."""
    given = {field: FLAGS[f"dequantization_{field}"].value for field in ("width", "depth")}
    given = {field: value for field, value in given.items() if value is not None}
    if not given:
        return dequantizer
    if not isinstance(dequantizer, Variational):
        listed, name = ", ".join(f"--dequantization_{field}" for field in given), FLAGS.dequantization
        raise ValueError(f"{listed} is for --dequantization=variational{f', not {name}' if name else ''}.")
    network = dequantizer.network
    if "width" in given:
        network = dataclasses.replace(network, width=given["width"])
    return dataclasses.replace(dequantizer, network=network, depth=given.get("depth", dequantizer.depth))


def _network_precision() -> str:
    if not FLAGS.mixed_precision:
        return "float32"
    if FLAGS.network_precision not in (None, "bfloat16"):
        raise ValueError(f"--mixed_precision is --network_precision=bfloat16, not {FLAGS.network_precision}.")
    return "bfloat16"


def _defaults_for(image_shape: tuple[int, ...], replicas: int) -> dict:
    given = {name: FLAGS[name].value for name in ("batch_size", "accumulate_steps", "optimizer")}
    return defaults_for(image_shape, replicas=replicas, **given)
