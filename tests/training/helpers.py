"""Small models, their training state, and batches for them, for the training tests."""

import functools

import numpy as np
import tensorflow as tf

import glow_tf
from glow_tf.runtime.runtime import Runtime
from glow_tf.training.batches import dequantized
from glow_tf.training.checkpoints import Checkpoints
from glow_tf.training.config import TrainingConfig
from glow_tf.training.devices import training_runtime
from glow_tf.training.optimizer import make_optimizer, steps_made
from glow_tf.training.state import RunState, TrainingState
from glow_tf.training.step import make_train_function

CONFIG = glow_tf.glow((8, 8, 3), K=1, L=2, width=4, n_bits=5)
# Compiles in a fifth of the time; for tests that do not depend on the kind of flow.
TINY = glow_tf.nice((4, 4, 3), K=2, width=8, blocks=1, n_bits=5)
LABELLED = glow_tf.glow((8, 8, 3), K=1, L=1, width=4, n_bits=5, num_classes=3, classifier=True)
# Predicts labels and is not conditioned on them.
GUESSING = glow_tf.glow((8, 8, 3), K=1, L=1, width=4, n_bits=5, num_classes=3, conditional=False, classifier=True)


def random_images(count, config=CONFIG, seed=0):
    """Returns smooth images, uint8 [count, H, W, C], from which a model can learn something."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-1, 1, config.image_shape[0])[None, :, None, None]
    images = 128 + 60 * rng.normal(size=[count, 1, 1, config.image_shape[-1]]) * ramp
    return np.clip(images + rng.normal(0, 6, [count, *config.image_shape]), 0, 255).astype(np.uint8)


def batches(count, size, config=CONFIG, seed=0, dtype=tf.float32, labelled_share=1.0):
    """Returns `count` dequantized batches of `size` images, with labels below 3, or -1 for unlabelled images."""
    images = random_images(count * size, config, seed)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count * size).astype(np.int32)
    labels[rng.uniform(size=count * size) >= labelled_share] = -1
    dataset = tf.data.Dataset.from_tensor_slices({"images": images, "labels": labels}).batch(size)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dequantized(dataset, config, seed, dtype=dtype).with_options(options)


class Run:
    """A flow, its optimizer and its train function under a strategy, on the same batches in every run."""

    def __init__(
        self,
        training,
        config=CONFIG,
        *,
        strategy=None,
        steps=8,
        dtype=tf.float32,
        device="CPU",
        shards=1,
        labelled_share=1.0,
    ):
        self.strategy = strategy or one_device()
        with self.strategy.scope():
            runtime = training_runtime(training, Runtime(device=device, shards=shards))
            self.flow = glow_tf.Flow(config, seed=1, dtype=dtype, runtime=runtime)
            labels = np.arange(16) % 3 if config.dequantizer.num_classes_needed() else None
            self.flow.initialize(random_images(16, config), labels)
            self.variables = list(self.flow.named_variables(trainable=True).values())
            self.optimizer = make_optimizer(training, self.variables, self.flow.decayed_variables())
        self.train = make_train_function(self.flow, self.optimizer, self.strategy, training, labelled_share)
        data = batches(steps, training.batch_size, config, dtype=dtype, labelled_share=labelled_share)
        self.iterator = iter(self.strategy.experimental_distribute_dataset(data))

    def __call__(self, steps):
        """Makes `steps` steps and returns the means of their metrics."""
        return {name: float(np.mean(values)) for name, values in self.train(self.iterator, tf.constant(steps)).items()}

    def weights(self):
        return [v.numpy() for v in self.variables]


def training(**fields):
    """Returns a `TrainingConfig`, by default of a short run."""
    return TrainingConfig(**{"batch_size": 8, "steps": 8, "warmup_steps": 0, "learning_rate": 1e-2, **fields})


class Parts:
    """The contents of checkpoints, without a train function. `advance` changes all of them, each time differently."""

    def __init__(self, directory, config=TINY, *, seed=1, **fields):
        self.training = training(**{"keep_checkpoints": 2, "keep_every_hours": 0.0, **fields})
        self.flow = glow_tf.Flow(config, seed)
        self.variables = list(self.flow.named_variables(trainable=True).values())
        self.optimizer = make_optimizer(self.training, self.variables)
        self.state = RunState(["loss"])
        self.whole_state = TrainingState(self.flow, self.optimizer, self.state)
        self.directory = directory
        self.checkpoints = Checkpoints(directory, self.whole_state, self.training)

    def advance(self):
        rng = np.random.default_rng(steps_made(self.optimizer))
        self.optimizer.apply([tf.cast(rng.normal(size=v.shape), v.dtype) for v in self.variables], self.variables)
        self.flow.initialized.assign(True)
        self.state.count("step")
        self.state.count("skipped", 2)
        self.state.add({"loss": rng.normal()}, 3)
        self.state.best_bits_per_dim.assign(rng.normal())
        self.optimizer.schedule.factor.assign(rng.uniform())

    def values(self):
        variables = [*self.flow.variables, *self.state.variables, self.optimizer.schedule.factor]
        variables += [v.value for v in self.optimizer.variables] + self.optimizer.averages
        return [v.numpy() for v in variables]

    def save(self, step):
        """Advances, saves, and returns what was saved."""
        self.advance()
        self.checkpoints.save(step)
        return self.values()


def one_device():
    return tf.distribute.OneDeviceStrategy("CPU:0")


@functools.cache
def two_replicas():
    """Returns a strategy on two of the logical CPU devices that tests/conftest.py configures.

    All tests share it: strategies of one process number their collective operations alike, and clash.
    """
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
