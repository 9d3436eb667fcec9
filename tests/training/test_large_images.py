"""A model of realistic size, for what TensorFlow's graph optimizer does only when memory is short."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.training.optimizer import make_optimizer
from glow_tf.training.step import make_train_function
from tests.training import helpers


@pytest.mark.slow
def test_the_training_loop_can_be_called_again():
    """A chain of additions became a temporary variable, which still existed in the loop's second call."""
    config = glow_tf.glow((256, 256, 3), K=2, L=6, width=512, n_bits=5)
    # At the learning rate of the other tests, 1e-2, the third step at this width can diverge.
    training = helpers.training(batch_size=1, learning_rate=1e-4)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        flow = glow_tf.Flow(config)
        optimizer = make_optimizer(training, list(flow.named_variables(trainable=True).values()))
    train = make_train_function(flow, optimizer, strategy, training)
    x = np.random.default_rng(0).uniform(-0.5, 0.5, [1, *config.image_shape]).astype(np.float32)
    batches = tf.data.Dataset.from_tensors(
        {"x": x, "log_q": np.zeros([1], np.float32), "labels": np.zeros([1], np.int32)}
    ).repeat()
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    losses = [float(train(iterator, tf.constant(1))["loss"][0]) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
