"""Training steps on batches like those of the training program."""

import tensorflow as tf

from glow_tf.training.devices import distributed
from tests.training import helpers


class Run(helpers.Run):
    """A run on random images, with batches of static size."""

    def __init__(self, training, config, *, strategy, steps):
        super().__init__(training, config, strategy=strategy, steps=steps, device="GPU")
        size = training.batch_size

        def with_size(batch):
            return {name: tf.ensure_shape(value, [size, *value.shape[1:]]) for name, value in batch.items()}

        data = helpers.batches(steps, size, config).map(with_size)
        self.iterator = distributed(strategy, data)
