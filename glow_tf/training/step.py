"""The training step, compiled once for all steps."""

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models.flow import Flow
from glow_tf.models.gradients import gradients_in_parts
from glow_tf.training.config import TrainingConfig
from glow_tf.training.loss import losses
from glow_tf.training.optimizer import Optimizer

TrainFunction = Callable[..., dict[str, tf.Tensor]]


def metric_names(config: ModelConfig) -> list[str]:
    """Returns the names of what the train function of a model reports beside `finite`."""
    return [*_terms(config), "gradient_norm"]


def make_train_function(
    flow: Flow,
    optimizer: Optimizer,
    strategy: tf.distribute.Strategy,
    config: TrainingConfig,
    labelled_share: float = 1.0,
) -> TrainFunction:
    """Returns a function that takes an iterator over distributed batches and a number of steps, and makes the updates.

    A step whose loss or gradient is not finite changes nothing, and is the last one of the call; where fewer steps are
    made than asked for, the iterator may be further than they are. With a third argument of False nothing is changed,
    but all is compiled.

    A batch is taken in parts: `config.accumulate_steps` one after the other, each in the shards of the flow's runtime,
    which are computed at the same time. With XLA, see `_CompiledStep`.

    The function returns vectors with a value for each step made: `loss`, `bits_per_dim` and what else `losses` gives,
    as means over the batch; `gradient_norm`; and `finite`. `labelled_share` is that of all training images.
    """
    is_compiled = flow.runtime.xla
    step = (_CompiledStep if is_compiled else _Step)(flow, optimizer, strategy, config, labelled_share)
    dtypes = {**dict.fromkeys(metric_names(flow.config), flow.dtype), "finite": tf.bool}

    # Nothing in a step needs autograph, whose conversion of every function called would double the time to trace.
    @tf.function(autograph=False)
    def train(iterator, steps, enabled=True):
        enabled = tf.convert_to_tensor(enabled)

        def one_more(i, enabled, made):
            values = step(iterator, enabled)
            return i + 1, enabled & values["finite"], {name: made[name].write(i, values[name]) for name in made}

        def goes_on(i, enabled, _):
            # To look at `enabled` would be to wait for the device.
            return i < steps if is_compiled else enabled & (i < steps)

        empty = {name: tf.TensorArray(dtype, size=steps, element_shape=[]) for name, dtype in dtypes.items()}
        count, _, made = tf.while_loop(goes_on, one_more, (0, enabled, empty), parallel_iterations=1)
        made = {name: values.stack() for name, values in made.items()}
        if is_compiled:
            count = tf.reduce_sum(tf.math.cumprod(tf.cast(made["finite"], tf.int32), exclusive=True))
        return {name: values[:count] for name, values in made.items()}

    return train


class _Step:
    """One update of all replicas, made if loss and gradient are finite.

    Args:
      flow, optimizer, strategy, config, labelled_share: as for `make_train_function`.
    """

    def __init__(
        self,
        flow: Flow,
        optimizer: Optimizer,
        strategy: tf.distribute.Strategy,
        config: TrainingConfig,
        labelled_share: float,
    ):
        self._flow, self._optimizer, self._strategy, self._config = flow, optimizer, strategy, config
        self._labelled_share = labelled_share
        self._variables = list(flow.named_variables(trainable=True).values())
        self._is_random = any(layer.is_random() for layer in flow.config.layers)

    def __call__(self, iterator: Iterator[Any], enabled: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes an update on the next batch, and returns what it reports."""
        del enabled  # Not called unless it is.

        def on_replica(batch):
            gradients, values = self._reduced_gradients(batch)
            return gradients, {**values, "gradient_norm": tf.linalg.global_norm(gradients)}

        gradients, values = self._strategy.run(on_replica, args=(next(iterator),))
        norm, values = values["gradient_norm"], self._first_of_each(values)
        finite = tf.math.is_finite(values["loss"]) & tf.math.is_finite(values["gradient_norm"])

        def update():
            self._strategy.run(
                lambda g, n: self._optimizer.apply(self._clipped(g, n), self._variables), args=(gradients, norm)
            )
            return tf.constant(True)

        # A branch that makes the update, as zeros in place of the gradients would still move weights and averages.
        return {**values, "finite": tf.cond(finite, update, lambda: tf.constant(False))}

    def _reduced_gradients(self, batch):
        """Returns gradients and terms of the loss of a global batch, whose part on this replica is `batch`."""
        replica = tf.distribute.get_replica_context()
        gradients, values = self._gradients(batch, self._seed(replica))
        if replica.num_replicas_in_sync > 1:
            gradients, values = replica.all_reduce("sum", (gradients, values))
        return gradients, values

    def _gradients(self, batch, seed):
        """Returns gradients and terms, so scaled that those of all replicas add up."""
        config = self._config

        def objective(part, number):
            own = None if seed is None else tf.random.experimental.stateless_fold_in(seed, number)
            terms = losses(
                self._flow,
                part,
                config.label_loss_weight,
                self._labelled_share,
                network_precision=self._flow.runtime.network_precision,
                training=True,
                seed=own,
            )
            return {name: tf.reduce_sum(value) / config.batch_size for name, value in terms.items()}

        images = config.batch_size // self._strategy.num_replicas_in_sync
        return gradients_in_parts(
            objective,
            self._variables,
            batch,
            _terms(self._flow.config),
            sequential=config.accumulate_steps,
            parallel=self._flow.runtime.shards_of(images // config.accumulate_steps),
        )

    def _seed(self, replica: tf.distribute.ReplicaContext) -> tf.Tensor | None:
        """Returns the seed of networks that are random, None where none is."""
        if not self._is_random:
            return None
        seed = tf.stack([tf.constant(self._config.seed, tf.int64), self._optimizer.iterations.value])
        return tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)

    def _clipped(self, gradients, norm):
        if not self._config.clip_norm:
            return gradients
        factor = tf.minimum(tf.ones_like(norm), self._config.clip_norm / norm)
        return [gradient * factor for gradient in gradients]

    def _first_of_each(self, values):
        return {name: self._strategy.experimental_local_results(value)[0] for name, value in values.items()}


class _CompiledStep(_Step):
    """An update of which XLA compiles loss and gradients to one program, and what is done with them to another.

    Nothing in between waits for a device: what is known there alone, whether all is finite, decides there whether the
    update counts.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        # What is compiled holds each loop over steps of flow once, whatever their number. XLA reads no input pipeline.
        self._gradients = tf.function(self._gradients, jit_compile=True, autograph=False)
        self._update = tf.function(self._update, jit_compile=True, autograph=False)

    def __call__(self, iterator, enabled):
        def on_replica(batch):
            gradients, values = self._reduced_gradients(batch)
            norm, finite = self._update(gradients, values["loss"], enabled)
            return {**values, "gradient_norm": norm, "finite": finite}

        return self._first_of_each(self._strategy.run(on_replica, args=(next(iterator),)))

    def _update(self, gradients, loss, enabled):
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        self._optimizer.apply_on_replica(self._clipped(gradients, norm), self._variables, enabled & finite)
        return norm, finite


def _terms(config: ModelConfig) -> list[str]:
    """Returns the names of the terms of the loss, the loss first."""
    return ["loss", "bits_per_dim", *(["label_bits", "label_error"] if config.classifier else [])]
