"""Image data sets of TensorFlow Datasets, by their names there."""

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from glow_tf.data import images
from glow_tf.data.source import DataError, Source, held_out_count

TEST_FRACTION = 0.05
# A config for data sets that have several, where one name in the literature means one config.
SHORT_NAMES = {"celeb_a_hq": "celeb_a_hq/256"}
_OTHER_NAMES = ("people", "folder", "arrays")
# Shuffling keeps this much of the encoded images in memory, but always 1,000 of them.
_SHUFFLE_BYTES = 256 * 2**20
_SHUFFLE_LEAST = 1000


def tfds_source(
    name: str,
    data_dir: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    test_fraction: float | None = None,
    test_size: int | None = None,
) -> "TfdsSource":
    """Source of an image data set of TensorFlow Datasets; prepares it if need be.

    The test split is the data set's `test`, else its `validation`, else the last of `train`.
    A test split whose labels are withheld (-1) is passed over.

    Args:
        name: name there, with the config if there are several: "imagenet_resized/32x32".
        data_dir: where the prepared data is kept; None for TensorFlow Datasets' default.
        image_size: H = W, or (H, W); the data's own by default, if its images share one.
        channels: 1 or 3; the data's own by default.
        test_fraction: share to hold out of `train` without a test split; 0.05 by default.
        test_size: number of images to hold out instead.

    Returns:
        The source.

    Raises:
        DataError: on an unknown name, a missing config, data that cannot be prepared, or that
            has no images or no train split.
    """
    builder = _builder(name, data_dir)
    _prepare(builder)
    image_key, feature = _image_feature(name, builder.info.features)
    height, width, native_channels = feature.shape
    size = images.parse_size(image_size)
    if size is None:
        if height is None or width is None:
            raise DataError(f"the images of {name} differ in size; set --image_size (pixels) to resize and crop them.")
        size = (height, width)
    features = builder.info.features
    label = features["label"] if "label" in features else None
    labelled = isinstance(label, tfds.features.ClassLabel) and bool(label.num_classes)
    splits, sizes = _splits(name, builder, labelled, test_fraction, test_size)
    return TfdsSource(
        name=name,
        image_shape=(*size, images.parse_channels(channels, 1 if native_channels == 1 else 3)),
        num_classes=label.num_classes if labelled else 0,
        class_names=tuple(label.names) if labelled else (),
        sizes=sizes,
        builder=builder,
        image_key=image_key,
        splits=splits,
    )


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TfdsSource(Source):
    """A prepared data set of TensorFlow Datasets.

    Attributes:
        builder: its builder.
        image_key: name of the image feature.
        splits: for "train" and "test", the split there, such as "train[:28500]".
    """

    builder: Any
    image_key: str
    splits: Mapping[str, str]

    def _stream(self, split: str, seed: int | None, start: int) -> tf.data.Dataset:
        encoded = _encoded(self.builder, self.splits[split], self.image_key, self.num_classes > 0)
        if seed is not None:
            count = self.sizes[split]
            first_epoch, offset = divmod(start, count)
            buffer = _shuffle_buffer(self.builder, count)

            def epoch_examples(epoch):
                # tf.data mixes the global seed into the seed of a shuffle; this sets that of
                # the function being traced, and of nothing else, so that (seed, epoch) alone
                # determine the order. Not 0, which tf.data would compare with the seed, a tensor.
                tf.compat.v1.set_random_seed(1)
                shuffle_seed = tf.random.stateless_uniform(
                    [],
                    seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
                    maxval=2**31 - 1,
                    dtype=tf.int64,
                )
                return encoded.shuffle(buffer, shuffle_seed, reshuffle_each_iteration=False)

            epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
            encoded = epochs.flat_map(epoch_examples).skip(offset)
        return encoded.map(self._decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _decode(self, example):
        feature = self.builder.info.features[self.image_key]
        image = feature.decode_example(example[self.image_key])
        if tuple(feature.shape) != self.image_shape:
            image = tf.numpy_function(
                lambda pixels: images.fit_pixels(pixels, self.image_shape),
                [image],
                tf.uint8,
                stateful=False,
            )
        image.set_shape(self.image_shape)
        label = tf.cast(example["label"], tf.int32) if self.num_classes else tf.constant(0)
        return image, label


def _builder(name, data_dir):
    """Returns the builder of a data set, its config settled. Raises DataError."""
    full_name = SHORT_NAMES.get(name, name)
    base_name = full_name.split("/")[0].split(":")[0]
    if not base_name.isidentifier():
        raise DataError(_unknown(name))
    try:
        # A builder without code, there only as prepared files, has one config: its own.
        builder_class = tfds.builder_cls(base_name)
        configs = list(builder_class.builder_configs)
        default = getattr(builder_class, "DEFAULT_BUILDER_CONFIG_NAME", None)
    except (tfds.core.DatasetNotFoundError, ValueError):
        configs, default = [], None
    if "/" not in full_name and len(configs) > 1:
        if default not in configs:
            raise DataError(
                f"dataset={name} comes in several configs; name one, such as "
                f"--dataset={name}/{configs[0]}. There are: {_some(configs)}."
            )
        full_name = f"{full_name}/{default}"
    try:
        return tfds.builder(full_name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(_unknown(name)) from error
    except Exception as error:  # TFDS raises several kinds on names, configs and versions.
        config = full_name.partition("/")[2].split(":")[0]
        if config and config not in configs:
            raise DataError(f"{base_name} has no config {config!r}; it has: {_some(configs)}.") from error
        raise DataError(
            f"dataset={name} cannot be loaded from TensorFlow Datasets: {_first_line(error)}. "
            "Check the name, its config and --data_dir."
        ) from error


def _unknown(name):
    known = [*_OTHER_NAMES, *tfds.list_builders(with_community_datasets=False)]
    close = difflib.get_close_matches(name.split("/")[0].lower(), known, n=4, cutoff=0.5)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"there is no data set {name!r}.{meant} It can be 'people' (bundled), 'folder' (a folder "
        "of images, --data_dir), 'arrays' (a .npz or .npy file, --data_dir), or an image data "
        "set of https://www.tensorflow.org/datasets/catalog."
    )


def _prepare(builder):
    """Downloads and prepares a data set that is not there yet. Raises DataError."""
    if builder.is_prepared():
        return
    try:
        builder.download_and_prepare()
    except Exception as error:  # Network, disk, checksums, missing manual files: any kind.
        version = builder.info.full_name
        root = str(builder.data_dir)[: -len(version)].rstrip("/\\")
        full_name = version.rpartition("/")[0]
        steps = "Check the network and disk space."
        if isinstance(error, ImportError):
            steps = f"It needs a package that is not installed: pip install {error.name}."
        elif builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
            what = " ".join(inspect.cleandoc(builder.MANUAL_DOWNLOAD_INSTRUCTIONS).split())
            steps = f"It has to be downloaded by hand into {root}/downloads/manual: {what}"
        raise DataError(
            f"{full_name} is not prepared in {root} (set --data_dir if it is elsewhere), and "
            f"preparing it failed: {_first_line(error)}. {steps} Then run again, or prepare it "
            'on its own: python -c "import tensorflow_datasets as tfds; '
            f"tfds.builder('{full_name}', data_dir='{root}').download_and_prepare()\""
        ) from error


def _image_feature(name, features):
    """Returns (key, feature) of the images of a data set. Raises DataError."""
    found = {}
    if isinstance(features, tfds.features.FeaturesDict):
        found = {key: feature for key, feature in features.items() if isinstance(feature, tfds.features.Image)}
    if "image" in found:
        found = {"image": found["image"]}
    if len(found) != 1:
        what = f"several: {', '.join(sorted(found))}" if found else "none"
        raise DataError(
            f"{name} must have one feature of images to train on; it has {what}. Choose another "
            "data set, or save the images to a folder and use --dataset=folder."
        )
    ((key, feature),) = found.items()
    if feature.np_dtype != np.uint8:
        raise DataError(
            f"the images of {name} are {np.dtype(feature.np_dtype)}; only uint8 is supported. "
            "Convert them and use --dataset=arrays."
        )
    return key, feature


def _splits(name, builder, labelled, test_fraction, test_size):
    """Returns ({"train": split, "test": split}, their sizes). Raises DataError."""
    available = {split: info.num_examples for split, info in builder.info.splits.items()}
    if not available.get("train"):
        raise DataError(
            f"{name} has no train split; it has: {', '.join(available) or 'none'}. Choose another data set or config."
        )
    for split in ("test", "validation"):
        if available.get(split) and not (labelled and _withheld(builder, split)):
            sizes = {"train": available["train"], "test": available[split]}
            return {"train": "train", "test": split}, sizes
    count = available["train"]
    held_out = held_out_count(count, test_fraction, test_size, TEST_FRACTION, name)
    splits = {"train": f"train[:{count - held_out}]", "test": f"train[{count - held_out}:]"}
    return splits, {"train": count - held_out, "test": held_out}


def _withheld(builder, split):
    """Whether the labels of a split are withheld, as they are in some competitions' test sets."""
    dataset = builder.as_dataset(split=f"{split}[:1]", decoders=tfds.decode.PartialDecoding({"label": True}))
    return any(int(example["label"]) < 0 for example in dataset)


def _encoded(builder, split, image_key, labelled):
    """One split in fixed order: dataset of {image_key: encoded string [], "label": int64 []}."""
    features = {image_key: True, **({"label": True} if labelled else {})}
    return builder.as_dataset(
        split=split,
        shuffle_files=False,
        # Shuffled and skipped over before decoding: smaller, and cheaper to pass over.
        decoders=tfds.decode.PartialDecoding(features, decoders={image_key: tfds.decode.SkipDecoding()}),
        read_config=tfds.ReadConfig(try_autocache=False),
    )


def _shuffle_buffer(builder, count):
    info = builder.info.splits["train"]
    bytes_each = max(1, (info.num_bytes or 0) // info.num_examples)
    return min(count, max(_SHUFFLE_LEAST, _SHUFFLE_BYTES // bytes_each))


def _some(names, limit=40):
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more


def _first_line(error):
    first, *_ = [*str(error).strip().splitlines(), ""]
    return f"{type(error).__name__}: {first}".rstrip(".: ")
