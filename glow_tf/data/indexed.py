"""Sources with random access to their examples."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.data.names import normalized
from glow_tf.data.python_calls import numpy_function
from glow_tf.data.source import SPLITS, UNLABELLED, DataError, Source, check_split
from glow_tf.runtime.pipelines import PARALLEL_BLOCKS

# Maps an index to (image uint8 [H, W, C] of the source's `stored_shape`, label), or to None for an unreadable image.
Reader = Callable[[int], tuple[np.ndarray, int] | None]

# Number of images per split that are hashed into the identity of a data set.
_SAMPLED = 16


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class IndexedSource(Source):
    """A source whose examples are read by index.

    Attributes:
      readers: a `Reader` for each split, called from several threads at once.
      labels: the label of each index, for each split that has labels.
      names: the name of each index, for each split whose images have names.
    """

    readers: Mapping[str, Reader]
    labels: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def spaced_batches(self, split: str, batch_size: int, count: int) -> tf.data.Dataset:
        check_split(split)
        size, read = self.sizes[split], self.readers[split]
        bounds = [*evenly(size, count), size]

        def read_spaced(index):
            # The next readable image, if it is before the next bound, takes the place of an unreadable one.
            examples = map(read, range(bounds[index], bounds[index + 1]))
            return next((example for example in examples if example is not None), None)

        sizes, readers = {**self.sizes, split: len(bounds) - 1}, {**self.readers, split: read_spaced}
        return dataclasses.replace(self, sizes=sizes, readers=readers).batches(split, batch_size)

    def sample(self, count: int) -> np.ndarray:
        size, read = self.sizes["train"], self.readers["train"]
        images = [example[0] for example in map(read, evenly(size, count)) if example is not None]
        return np.array(images, np.uint8).reshape(-1, *self.stored_shape)

    def row_names(self, split: str) -> Sequence[str]:
        return self.names.get(split) or super().row_names(split)

    def row_labels(self, split: str) -> np.ndarray:
        return np.asarray(self.labels[split], np.int32)

    def is_readable(self, split: str, row: int) -> bool:
        return self.readers[split](row) is not None

    def identity(self) -> dict[str, Any]:
        """Adds a hash of all labels and image names; unnamed images are represented by the pixels of a sample."""
        return {**super().identity(), "images": self._images_hash}

    @functools.cached_property
    def _images_hash(self) -> str:
        digest = hashlib.sha256()
        for split, count in self.sizes.items():
            if split in self.labels:
                digest.update(np.asarray(self.labels[split], np.int64).tobytes())
            if self.names.get(split):
                names = map(normalized, self.names[split])
                digest.update("\0".join(names).encode("utf-8", "surrogateescape"))
                continue
            for index in evenly(count, _SAMPLED):
                example = self.readers[split](index)
                digest.update(b"" if example is None else np.ascontiguousarray(example[0]).tobytes())
        return digest.hexdigest()

    def by_row(self) -> "IndexedSource":
        """Returns the same images, labelled with their index in the split."""
        return self._relabelled(lambda index, label: index)

    def with_classes(self, class_names: Sequence[str]) -> "IndexedSource":
        """Returns the same images with labels that index `class_names`, a superset of this source's class names."""
        positions = {normalized(name): i for i, name in enumerate(class_names)}
        numbers = np.array([positions[normalized(name)] for name in self.class_names], np.int32)
        return dataclasses.replace(
            self._relabelled(lambda index, label: int(numbers[label])),
            num_classes=len(class_names),
            class_names=tuple(class_names),
            labels={split: numbers[np.asarray(labels)] for split, labels in self.labels.items()},
        )

    def with_labels_of(self, rows: Sequence[int]) -> "IndexedSource":
        labelled = np.zeros(self.sizes["train"], bool)
        labelled[rows] = True
        return dataclasses.replace(
            self._relabelled(lambda index, label: label if labelled[index] else UNLABELLED, ("train",)),
            labels={**self.labels, "train": np.where(labelled, self.row_labels("train"), UNLABELLED)},
        )

    def reduced_to(self, rows: Sequence[int]) -> "IndexedSource":
        rows, read = np.asarray(rows), self.readers["train"]

        def select(values):
            return {split: [data[row] for row in rows] if split == "train" else data for split, data in values.items()}

        return dataclasses.replace(
            self,
            sizes={**self.sizes, "train": len(rows)},
            readers={**self.readers, "train": lambda index: read(int(rows[index]))},
            labels=select(self.labels),
            names=select(self.names),
        )

    def _relabelled(self, label_of: Callable[[int, int], int], splits: Sequence[str] = SPLITS) -> "IndexedSource":
        def with_labels(read):
            def relabelled(index):
                example = read(index)
                return None if example is None else (example[0], label_of(index, example[1]))

            return relabelled

        readers = {split: with_labels(read) if split in splits else read for split, read in self.readers.items()}
        return dataclasses.replace(self, readers=readers)

    def _blocks(self, split: str, seed: int | None, start: int) -> tf.data.Dataset:
        count, read = self.sizes[split], self.readers[split]

        def load(index):
            # In the infinite stream, the next image replaces an unreadable one, so that positions
            # remain a function of the index.
            for step in range(1 if seed is None else count):
                example = read((index + step) % count)
                if example is not None:
                    return example
            if seed is not None:
                raise DataError(f"none of the {count} {split} images of {self.name} can be read.")

        def load_block(indices):
            loaded = [example for example in map(load, indices.tolist()) if example is not None]
            images = np.empty((len(loaded), *self.stored_shape), np.uint8)
            for row, (image, _) in zip(images, loaded, strict=True):
                row[...] = image
            return images, np.array([label for _, label in loaded], np.int32)

        def load_tensors(indices):
            images, labels = numpy_function(load_block, [indices], (tf.uint8, tf.int32))
            images.set_shape([None, *self.stored_shape])
            labels.set_shape([None])
            return images, labels

        order = tf.data.Dataset.range(count) if seed is None else index_stream(count, seed, start)
        # In blocks, as a Python call costs as much as reading twenty small images.
        blocks = order.batch(self.block_size)
        return blocks.map(load_tensors, num_parallel_calls=PARALLEL_BLOCKS, deterministic=True)


def evenly(count: int, most: int) -> list[int]:
    """Returns at most `most` evenly spaced indices in 0..count-1."""
    return np.linspace(0, count - 1, min(count, most)).astype(int).tolist()


def index_stream(count: int, seed: int, start: int) -> tf.data.Dataset:
    """Streams the indices 0..count-1 indefinitely, reshuffled every epoch.

    Args:
      count: number of indices, at least 1.
      seed: determines the order of each epoch, together with the epoch number.
      start: position in the stream to start from; skipping costs at most one epoch of integers.

    Returns:
      Dataset of int64 [].
    """
    first_epoch, offset = divmod(start, count)

    def epoch_order(epoch):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64),
            seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
            alg="philox",
        )
        return tf.data.Dataset.from_tensor_slices(order)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch_order).skip(offset)
