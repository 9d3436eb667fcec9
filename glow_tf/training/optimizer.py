"""Keras's Adamax, Adam and AdamW with a learning rate schedule and a moving average of the weights."""

import contextlib
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

from glow_tf.runtime.internals import OptimizerInternals
from glow_tf.training.config import TrainingConfig


class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up: factor * learning_rate * min(1, (step + 1) / warmup_steps).

    Args:
      learning_rate: learning rate after the warm-up: a constant, or a schedule that begins then.
      warmup_steps: number of steps of the warm-up.

    Attributes:
      factor: variable, initially 1, that lowers the learning rate after a rollback.
    """

    def __init__(self, learning_rate: float | keras.optimizers.schedules.LearningRateSchedule, warmup_steps: int):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.factor = tf.Variable(1.0, trainable=False, name="learning_rate_factor")

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rate = self.learning_rate
        if callable(rate):
            rate = rate(tf.maximum(0.0, step - self.warmup_steps))
        return self.factor * rate * tf.minimum(1.0, (step + 1) / max(1, self.warmup_steps))

    def get_config(self):
        return {"learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps}


class _Averaging(OptimizerInternals):
    """Adds a moving average of the weights to a Keras optimizer, and updates variables one by one, each in one pass.

    On every replica, `apply` takes the gradient of the whole batch: the training step has already summed it over the
    replicas, to clip its norm. Keras would sum it once more.

      average <- decay_t * average + (1 - decay_t) * weight,  decay_t = min(decay, t / (t + 9)),  t = 0, 1, ...

    so that the average of a short run is not dominated by its first steps. Keras has an average of its own (`use_ema`),
    but updates all averages, like all weights, at once: the intermediate values, several times the size of the weights,
    exceed all activations of a deep and narrow model. Chained updates only need those of one variable. And where Keras
    composes an update of ten operations, each a pass over memory, TensorFlow has a single one, called in `_update`,
    which computes the same in half the time.
    """

    def __init__(self, *, decay: float, **kwargs):
        super().__init__(**kwargs)
        self._decay = decay
        self._average_of: dict[object, keras.Variable] = {}

    def build(self, variables):
        super().build(variables)
        if self._decay:
            for variable in variables:
                average = self.add_variable_from_reference(variable, name="average", initializer="zeros")
                self._average_of[self.key(variable)] = average

    @property
    def averages(self) -> list[tf.Variable]:
        """Moving averages, in the order of the variables the optimizer was built with; [] if it keeps none."""
        return [average.value for average in self._average_of.values()]

    def apply(self, grads, trainable_variables=None):
        self._last_update: list[tf.Operation] = []
        self._factors: dict[tf.DType, dict[str, tf.Tensor]] = {}
        super().apply(grads, trainable_variables)

    def apply_on_replica(self, gradients: list[tf.Tensor], variables: list[tf.Variable], enabled: tf.Tensor) -> None:
        """Updates a replica's own variables, or none if `enabled`, a bool scalar, is false; for code compiled by XLA.

        It bypasses Keras and `tf.distribute`, which would leave the replica context for every variable: compiled code
        cannot do that.
        """
        self._last_update = []
        self._factors = {}
        rate = self.current_learning_rate()
        for gradient, variable in zip(gradients, variables, strict=True):
            state = [variable, *self._slots_of(variable)]
            before = [_read(v) for v in state]
            self.update_step(gradient, variable, rate)
            for v, value in zip(state, before, strict=True):
                tf.raw_ops.AssignVariableOp(resource=v.handle, value=tf.where(enabled, _read(v), value))
        steps = self.iterations.value
        tf.raw_ops.AssignAddVariableOp(resource=steps.handle, value=tf.cast(enabled, steps.dtype))

    def _slots_of(self, variable) -> list[tf.Variable]:
        averages = [self._average_of[self.key(variable)].value] if self._decay else []
        return [*self.moments(variable), *averages]

    def update_step(self, gradient, variable, learning_rate):
        factors = self._factors_of(variable.dtype, learning_rate)
        with tf.control_dependencies(self._last_update):
            self._update(tf.cast(gradient, variable.dtype), variable, factors)
            weight = variable.read_value()
            if self._decay:
                average = self._average_of[self.key(variable)].value
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=average.handle, alpha=factors["change"], delta=average - weight
                )
            if not tf.executing_eagerly():
                self._last_update = [weight.op]

    def _factors_of(self, dtype, learning_rate) -> dict[str, tf.Tensor]:
        """Returns the factors that the updates of all variables of a dtype share, computed once."""
        if dtype not in self._factors:
            step, beta1, beta2, epsilon, decay, rate = (
                tf.cast(value, dtype)
                for value in (self.iterations, self.beta_1, self.beta_2, self.epsilon, self._decay, learning_rate)
            )
            self._factors[dtype] = {
                "change": 1 - tf.minimum(decay, step / (step + 9)),
                "lr": rate,
                "beta1": beta1,
                "beta2": beta2,
                "epsilon": epsilon,
                "beta1_power": beta1 ** (step + 1),
                "beta2_power": beta2 ** (step + 1),
            }
        return self._factors[dtype]

    def _update(self, gradient, variable, factors):
        raise NotImplementedError


class Adamax(_Averaging, keras.optimizers.Adamax):
    """Adamax with a moving average of the weights."""

    def _update(self, gradient, variable, factors):
        m, u = self.moments(variable)
        names = ("lr", "beta1", "beta2", "epsilon", "beta1_power")
        tf.raw_ops.ResourceApplyAdaMax(
            var=variable.handle,
            m=m.handle,
            v=u.handle,
            grad=gradient,
            **{name: factors[name] for name in names},
        )


class Adam(_Averaging, keras.optimizers.Adam):
    """Adam with a moving average of the weights."""

    def _update(self, gradient, variable, factors):
        m, v = self.moments(variable)
        names = ("lr", "beta1", "beta2", "epsilon", "beta1_power", "beta2_power")
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            grad=gradient,
            **{name: factors[name] for name in names},
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019) and a moving average of the weights.

      weight <- weight - learning_rate * weight_decay * weight

    before each Adam update, for all variables except those given to `exclude_from_weight_decay`.
    """

    def _update(self, gradient, variable, factors):
        if self.is_decayed(variable):
            share = factors["lr"] * tf.cast(self.weight_decay, variable.dtype)
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=share, delta=_read(variable))
        super()._update(gradient, variable, factors)


Optimizer = Adamax | Adam
_FAMILIES = {"adamax": Adamax, "adam": Adam, "adamw": AdamW}


def make_optimizer(
    config: TrainingConfig, variables: list[tf.Variable], decayed: Iterable[tf.Variable] | None = None
) -> Optimizer:
    """Returns the optimizer of `variables`, already built; call it inside the strategy's scope.

    Clipping is left to the training step, which sees the gradient of the whole batch; Keras would clip each replica's
    part of it.

    Args:
      config: the training settings.
      variables: the trained variables.
      decayed: those of them that weight decay, if any, applies to; all by default.
    """
    options = {"beta_1": config.beta1, "beta_2": config.beta2, "epsilon": config.epsilon}
    if config.weight_decay:
        options["weight_decay"] = config.weight_decay
    optimizer = _FAMILIES[config.optimizer](learning_rate=make_schedule(config), decay=config.ema_decay, **options)
    if decayed is not None:
        kept = {id(variable) for variable in decayed}
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if id(v) not in kept])
    optimizer.build(variables)
    return optimizer


def make_schedule(config: TrainingConfig) -> LinearWarmup:
    """Returns the learning rate schedule, a function of the number of updates made."""
    rate, steps = config.learning_rate, config.steps - config.warmup_steps
    if config.lr_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    elif config.lr_schedule == "linear":
        rate = keras.optimizers.schedules.PolynomialDecay(rate, steps, end_learning_rate=0.0)
    return LinearWarmup(rate, config.warmup_steps)


def _read(variable: tf.Variable) -> tf.Tensor:
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


def steps_made(optimizer: keras.optimizers.Optimizer) -> int:
    """Returns the number of updates the optimizer has made."""
    return int(optimizer.iterations.value.read_value())


@contextlib.contextmanager
def averaged_weights(optimizer: Optimizer, variables: list[tf.Variable]) -> Iterator[None]:
    """Replaces the values of the variables by their moving averages, and restores the weights on exit."""
    # Before the first update there is no average yet.
    if not optimizer.averages or not steps_made(optimizer):
        yield
        return
    weights = [tf.identity(v) for v in variables]
    for variable, value in zip(variables, optimizer.averages, strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
