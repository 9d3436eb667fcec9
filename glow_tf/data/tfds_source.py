"""Image data sets from TensorFlow Datasets."""

import dataclasses
import functools
import itertools
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from glow_tf.data import images
from glow_tf.data.options import DataOptions
from glow_tf.data.python_calls import numpy_function
from glow_tf.data.recipes import Recipe, recipe
from glow_tf.data.source import UNLABELLED, DataError, Source, held_out_count
from glow_tf.data.tfds_prepare import get_builder, prepare
from glow_tf.runtime.pipelines import PARALLEL_BLOCKS, untuned

TEST_FRACTION = 0.05
# Shuffle buffer of encoded images: size in bytes, and smallest number of images.
_SHUFFLE_BYTES = 256 * 2**20
_SHUFFLE_LEAST = 1000
# Features that hold the file name of an image, in various data sets.
_NAME_FEATURES = ("image/filename", "file_name", "filename", "image/file_name", "image_name")


def tfds_source(name: str, options: DataOptions) -> "TfdsSource":
    """Opens an image data set from TensorFlow Datasets and prepares it if necessary.

    The test split is the data set's `test`, else its `validation`, else the last images of `train`.
    A test split whose labels are withheld (-1) is ignored.

    Args:
      name: name in TensorFlow Datasets, with the config if there are several, such as
        "imagenet_resized/32x32".
      options: `data_dir` is the directory of the prepared data. By default, `image_size` is the
        recipe's, else the data's own if all images share one; `crop_from` is the recipe's if
        `image_size` is too; `test_size` is the recipe's if that is less than half of the images,
        else a fraction of 0.05 is held out; and channels are the data's own.

    Returns:
      The source.

    Raises:
      DataError: on an unknown name, a missing config, or data that cannot be prepared or has no
        images or no train split.
    """
    builder = get_builder(name, options.data_dir)
    builder = prepare(builder)
    features = builder.info.features
    image_key, feature = _image_feature(name, features)
    *size, channels = feature.shape
    options, steps = _apply_recipe(options, recipe(name))
    if options.image_size is None and None in size:
        raise DataError(f"the images of {name} differ in size; set --image_size (pixels) to resize and crop them.")
    image_shape, stored_shape = options.shapes(tuple(size), 1 if channels == 1 else 3)
    _check_large_enough(name, size, steps, stored_shape, options)
    label = features["label"] if "label" in features else None
    labelled = isinstance(label, tfds.features.ClassLabel) and bool(label.num_classes)
    splits, sizes = _splits(name, builder, labelled, options, steps.test_size)
    return TfdsSource(
        name=name,
        image_shape=image_shape,
        stored_shape=stored_shape,
        num_classes=label.num_classes if labelled else 0,
        class_names=tuple(label.names) if labelled else (),
        sizes=sizes,
        builder=builder,
        image_key=image_key,
        splits=splits,
        steps=steps,
    )


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TfdsSource(Source):
    """A prepared data set from TensorFlow Datasets.

    Attributes:
      builder: the `tfds.core.DatasetBuilder`.
      image_key: name of the image feature.
      splits: the builder's split for "train" and "test", such as "train[:28500]".
      steps: recipe whose `pad` and `center_crop` are applied to the images.
      labelled: bool [N], whether the label of each training image is used; None if all are.
      rows: int [N], the rows of the train split that are used; None for all.
    """

    builder: Any
    image_key: str
    splits: Mapping[str, str]
    steps: Recipe
    labelled: np.ndarray | None = None
    rows: np.ndarray | None = None

    def row_names(self, split: str) -> Sequence[str]:
        features = self.builder.info.features
        key = next((key for key in _NAME_FEATURES if key in features), None)
        if key is None:
            return super().row_names(split)
        return [str(example[key], "utf-8") for example in self._iter_features(split, {key: True})]

    def row_labels(self, split: str) -> np.ndarray:
        labels = np.array([example["label"] for example in self._iter_features(split, {"label": True})], np.int32)
        is_chosen = split == "train" and self.labelled is not None
        return np.where(self.labelled, labels, UNLABELLED) if is_chosen else labels

    def with_labels_of(self, rows: Sequence[int]) -> "TfdsSource":
        labelled = np.zeros(self.sizes["train"], bool)
        labelled[rows] = True
        return dataclasses.replace(self, labelled=labelled)

    def reduced_to(self, rows: Sequence[int]) -> "TfdsSource":
        rows = np.unique(rows)
        return dataclasses.replace(
            self,
            rows=rows if self.rows is None else self.rows[rows],
            labelled=None if self.labelled is None else self.labelled[rows],
            sizes={**self.sizes, "train": len(rows)},
        )

    def attributes(self, split: str) -> dict[str, np.ndarray]:
        features = self.builder.info.features
        found = features["attributes"] if "attributes" in features else None
        if not isinstance(found, tfds.features.FeaturesDict):
            return {}
        names = [name for name, feature in found.items() if feature.np_dtype == np.bool_ and feature.shape == ()]
        rows = list(self._iter_features(split, {"attributes": dict.fromkeys(names, True)}))
        return {name: np.array([row["attributes"][name] for row in rows], bool) for name in names}

    def _iter_features(self, split: str, features: dict) -> Iterator[dict]:
        """Iterates over the given features of a split's examples, in its fixed order, without decoding images."""
        decoders = tfds.decode.PartialDecoding(features)
        config = tfds.ReadConfig(try_autocache=False)
        dataset = self.builder.as_dataset(
            split=self.splits[split], shuffle_files=False, decoders=decoders, read_config=config
        )
        return self._selected(split, untuned(dataset).as_numpy_iterator())

    def _selected(self, split: str, examples: Iterator[dict]) -> Iterator[dict]:
        if split != "train" or self.rows is None:
            return examples
        return itertools.compress(examples, np.isin(np.arange(self.rows[-1] + 1), self.rows))

    def _examples(self, split: str) -> tf.data.Dataset:
        """Returns the examples of a split that are used, in fixed order, as `_encoded` does."""
        if split != "train" or self.rows is None:
            return _encoded(self.builder, self.splits[split], self.image_key, self.num_classes > 0)
        return tf.data.Dataset.from_tensor_slices(self._kept)

    @functools.cached_property
    def _kept(self) -> dict[str, list]:
        """The examples of `rows`, encoded: few, for which the whole split would be read in each epoch."""
        encoded = _encoded(self.builder, self.splits["train"], self.image_key, self.num_classes > 0)
        examples = list(self._selected("train", untuned(encoded).as_numpy_iterator()))
        return {key: [example[key] for example in examples] for key in examples[0]}

    def _blocks(self, split: str, seed: int | None, start: int) -> tf.data.Dataset:
        encoded = self._examples(split)
        if split == "train" and self.labelled is not None:
            # Done before shuffling, by the row in the fixed order.
            encoded = encoded.enumerate().map(self._with_label_if_used)
        if seed is not None:
            count = self.sizes[split]
            first_epoch, offset = divmod(start, count)
            buffer = _shuffle_buffer(self.builder, count)

            def epoch_examples(epoch):
                # tf.data combines the seed of a shuffle with the global seed. This sets the global seed
                # only for the function being traced, so that (seed, epoch) alone determine the order.
                # It is not 0, as tf.data would then compare the shuffle seed, a tensor, with 0.
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
        decoded = encoded.map(self._decode, num_parallel_calls=PARALLEL_BLOCKS, deterministic=True)
        return decoded.batch(self.block_size)

    def _with_label_if_used(self, row, example):
        label = example["label"]
        used = tf.gather(tf.constant(self.labelled), row)
        return {**example, "label": tf.where(used, label, tf.constant(UNLABELLED, label.dtype))}

    def _decode(self, example):
        feature = self.builder.info.features[self.image_key]
        image = feature.decode_example(example[self.image_key])
        pad, crop = self.steps.pad, self.steps.center_crop
        if pad:
            image = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]])
        if crop:
            image = _central_square(image, crop)
        if tuple(image.shape) != self.stored_shape:
            image = numpy_function(lambda pixels: images.fit_pixels(pixels, self.stored_shape), [image], tf.uint8)
        image.set_shape(self.stored_shape)
        label = tf.cast(example["label"], tf.int32) if self.num_classes else tf.constant(0)
        return image, label


def _check_large_enough(name, size, steps, stored_shape, options):
    """Checks that images of `size`, (H, W), need not be enlarged if `upscale` is False. Raises DataError."""
    if options.upscale is False and None in size:
        raise DataError(
            f"the images of {name} differ in size, so that it is not known whether they need be enlarged; leave out "
            "--noupscale."
        )
    if None not in size:
        prepared = tuple(min(side + 2 * steps.pad, steps.center_crop or side + 2 * steps.pad) for side in size)
        options.check_large_enough(name, prepared, stored_shape)


def _central_square(image, side):
    height, width = tf.unstack(tf.shape(image)[:2])
    top, left = tf.maximum(height - side, 0) // 2, tf.maximum(width - side, 0) // 2
    return image[top : top + side, left : left + side]


def _image_feature(name, features):
    """Returns (key, feature) of a data set's images. Raises DataError."""
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


def _apply_recipe(options, steps):
    """Returns the options with defaults from a recipe, and the recipe with only the steps that apply to them."""
    if options.image_size is None:
        options = dataclasses.replace(options, image_size=steps.image_size)
    if images.parse_size(options.image_size) != images.parse_size(steps.image_size):
        # `pad` and `crop_from` are for the recipe's size; at other sizes, images are resized without them.
        steps = dataclasses.replace(steps, pad=0, crop_from=None)
    if options.crop_from is None:
        options = dataclasses.replace(options, crop_from=steps.crop_from)
    return options, steps


def _splits(name, builder, labelled, options, usual_size):
    """Returns ({"train": split, "test": split}, their sizes). Raises DataError."""
    available = {split: info.num_examples for split, info in builder.info.splits.items()}
    if not available.get("train"):
        raise DataError(
            f"{name} has no train split; it has: {', '.join(available) or 'none'}. Choose another data set or config."
        )
    for split in ("test", "validation"):
        if available.get(split) and not (labelled and _withheld(builder, split)):
            options.check_nothing_held_out(name)
            sizes = {"train": available["train"], "test": available[split]}
            return {"train": "train", "test": split}, sizes
    count, test_size = available["train"], options.test_size
    if options.test_fraction is None and test_size is None and usual_size is not None and 2 * usual_size < count:
        test_size = usual_size
    held_out = held_out_count(count, options.test_fraction, test_size, TEST_FRACTION, name)
    splits = {"train": f"train[:{count - held_out}]", "test": f"train[{count - held_out}:]"}
    return splits, {"train": count - held_out, "test": held_out}


def _withheld(builder, split):
    """Returns whether the labels of a split are withheld, as in the test sets of some competitions."""
    info = builder.info.splits[split]
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        # Not read by TensorFlow, whose use of CPU cores can no longer be configured once it has read a data set.
        first = next(i for i, length in enumerate(info.shard_lengths) if length)
        with info.filepaths[first].open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            file.seek(4, os.SEEK_CUR)  # Checksum of the length.
            example = tf.train.Example.FromString(file.read(length))
        return example.features.feature["label"].int64_list.value[0] < 0
    dataset = builder.as_dataset(split=f"{split}[:1]", decoders=tfds.decode.PartialDecoding({"label": True}))
    return any(int(example["label"]) < 0 for example in dataset)


def _encoded(builder, split, image_key, labelled):
    """Returns a split in fixed order, as a dataset of {image_key: encoded string [], "label": int64 []}."""
    features = {image_key: True, **({"label": True} if labelled else {})}
    return builder.as_dataset(
        split=split,
        shuffle_files=False,
        # Encoded images take less memory to shuffle and are cheaper to skip.
        decoders=tfds.decode.PartialDecoding(features, decoders={image_key: tfds.decode.SkipDecoding()}),
        read_config=tfds.ReadConfig(try_autocache=False),
    )


def _shuffle_buffer(builder, count):
    info = builder.info.splits["train"]
    bytes_each = max(1, (info.num_bytes or 0) // info.num_examples)
    return min(count, max(_SHUFFLE_LEAST, _SHUFFLE_BYTES // bytes_each))
