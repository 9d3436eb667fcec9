"""The optimizer: Adamax or Adam of Keras, with warm-up and a moving average of the weights."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from glow_tf.training.config import TrainingConfig


@keras.saving.register_keras_serializable(package="glow_tf")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """learning_rate * min(1, (step + 1) / warmup_steps)."""

    def __init__(self, learning_rate: float, warmup_steps: int):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        return self.learning_rate * tf.minimum(1.0, (step + 1) / max(1, self.warmup_steps))

    def get_config(self):
        return {"learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps}


def make_optimizer(config: TrainingConfig, variables: list[tf.Variable]) -> keras.optimizers.Optimizer:
    """The optimizer of `variables`, built; call it inside the strategy's scope.

    Clipping is left to the training step, which sees the gradient of the whole batch; Keras would clip the part of
    each replica.
    """
    family = {"adamax": keras.optimizers.Adamax, "adam": keras.optimizers.Adam}[config.optimizer]
    optimizer = family(
        learning_rate=LinearWarmup(config.learning_rate, config.warmup_steps),
        use_ema=config.ema_decay > 0,
        ema_momentum=config.ema_decay,
    )
    optimizer.build(variables)
    return optimizer


def averages(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """The moving averages in the order of the variables the optimizer was built with; [] if it keeps none."""
    if not optimizer.use_ema:
        return []
    # Keras offers no public way to them but overwriting the weights for good.
    return [average.value for average in optimizer._model_variables_moving_average]


@contextlib.contextmanager
def averaged_weights(optimizer: keras.optimizers.Optimizer, variables: list[tf.Variable]) -> Iterator[None]:
    """Puts the moving averages in the variables' place; on leaving, the weights return."""
    average = averages(optimizer)
    # Before the first update there is no average yet.
    if not average or int(optimizer.iterations.value.read_value()) == 0:
        yield
        return
    weights = [tf.identity(v) for v in variables]
    for variable, value in zip(variables, average, strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
