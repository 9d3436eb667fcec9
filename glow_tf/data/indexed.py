"""Sources whose examples can be fetched by number, in any order."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from glow_tf.data.source import DataError, Source

# From an index to (image uint8 [H, W, C], label), or None if that image cannot be read.
Reader = Callable[[int], tuple[np.ndarray, int] | None]


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class IndexedSource(Source):
    """A source read by index.

    Attributes:
        readers: a `Reader` for each split, called from several threads at once.
    """

    readers: Mapping[str, Reader]

    def _stream(self, split: str, seed: int | None, start: int) -> tf.data.Dataset:
        count, read = self.sizes[split], self.readers[split]
        blank = np.zeros(self.image_shape, np.uint8)

        def load(index):
            # The place of an unreadable image in the endless stream is taken by the next one,
            # not closed up: positions stay what index arithmetic says they are.
            tries = 1 if seed is None else count
            for step in range(tries):
                example = read((int(index) + step) % count)
                if example is not None:
                    return example[0], np.int32(example[1]), True
            if seed is None:
                return blank, np.int32(0), False
            raise DataError(f"none of the {count} {split} images of {self.name} can be read.")

        def load_tensors(index):
            image, label, readable = tf.numpy_function(load, [index], (tf.uint8, tf.int32, tf.bool), stateful=False)
            image.set_shape(self.image_shape)
            label.set_shape(())
            readable.set_shape(())
            return image, label, readable

        order = tf.data.Dataset.range(count) if seed is None else index_stream(count, seed, start)
        loaded = order.map(load_tensors, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        readable = loaded.filter(lambda image, label, readable: readable)
        return readable.map(lambda image, label, readable: (image, label))


def index_stream(count: int, seed: int, start: int) -> tf.data.Dataset:
    """Endless stream of the indices 0..count-1, every epoch in an order of its own.

    Args:
        count: number of indices, at least 1.
        seed: with the number of the epoch, determines its order.
        start: position of the uninterrupted stream to begin at; costs no more than one epoch
            of integers however far it is.

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
