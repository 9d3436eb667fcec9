"""Prints the bytes of weights and the allocator's peak in a training step; run as a program, for a fresh allocator.

python -m tests.training.memory_of_a_step K reversible|stored
"""

import sys

import numpy as np
import tensorflow as tf

from glow_tf import Flow, glow
from glow_tf.training.config import TrainingConfig
from glow_tf.training.optimizer import make_optimizer
from glow_tf.training.step import make_train_function


def main(depth: int, gradient: str) -> None:
    """One step at 64x64, batch 16, L=3, width 128, Adamax with a moving average."""
    training, strategy = TrainingConfig(batch_size=16), tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        flow = Flow(glow((64, 64, 3), K=depth, L=3, width=128, gradient=gradient))
        variables = list(flow.named_variables(trainable=True).values())
        optimizer = make_optimizer(training, variables)
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (16, 64, 64, 3)).astype(np.float32)
    batches = tf.data.Dataset.from_tensors({"x": x, "labels": np.zeros(16, np.int32)}).repeat()
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    make_train_function(flow, optimizer, strategy, training)(iterator, tf.constant(1))
    weights = 4 * sum(v.shape.num_elements() for v in variables)
    print(weights, tf.config.experimental.get_memory_info("CPU:0")["peak"])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
