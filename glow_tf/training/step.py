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
    """Returns the names of the metrics, besides `finite`, that the train function of a model reports."""
    return [*_terms(config), "gradient_norm"]


def make_train_function(
    flow: Flow,
    optimizer: Optimizer,
    strategy: tf.distribute.Strategy,
    config: TrainingConfig,
    labelled_share: float = 1.0,
) -> TrainFunction:
    """Returns a function that takes an iterator over distributed batches and a number of steps, and makes the updates.

    A step whose loss or gradient is not finite changes nothing, and is the last one of the call; if fewer steps are
    made than requested, the iterator may be ahead of them. With a third argument of False, everything is compiled but
    nothing is changed.

    A batch is split into `config.accumulate_steps` parts, computed one after the other, and each of these into the
    shards of the flow's runtime, computed in parallel. For XLA, see `_CompiledStep`.

    The function returns vectors with one value per step made: `loss`, `bits_per_dim` and the other values of `losses`,
    as means over the batch; `gradient_norm`; and `finite`. `labelled_share` is as for `losses`, of all training images.
    """
    is_compiled = flow.runtime.xla
    step = (_CompiledStep if is_compiled else _Step)(flow, optimizer, strategy, config, labelled_share)
    dtypes = {**dict.fromkeys(metric_names(flow.config), flow.dtype), "finite": tf.bool}

    # No step needs autograph, whose conversion of every called function would double the tracing time.
    @tf.function(autograph=False)
    def train(iterator, steps, enabled=True):
        enabled = tf.convert_to_tensor(enabled)

        def body(i, enabled, made):
            values = step(iterator, enabled)
            return i + 1, enabled & values["finite"], {name: made[name].write(i, values[name]) for name in made}

        def cond(i, enabled, _):
            # Reading `enabled` would wait for the device.
            return i < steps if is_compiled else enabled & (i < steps)

        empty = {name: tf.TensorArray(dtype, size=steps, element_shape=[]) for name, dtype in dtypes.items()}
        count, _, made = tf.while_loop(cond, body, (0, enabled, empty), parallel_iterations=1)
        made = {name: values.stack() for name, values in made.items()}
        if is_compiled:
            count = tf.reduce_sum(tf.math.cumprod(tf.cast(made["finite"], tf.int32), exclusive=True))
        return {name: values[:count] for name, values in made.items()}

    return train


class _Step:
    """One update on all replicas, made if the loss and the gradient are finite.

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
        self._is_random = any(layer.is_random for layer in flow.config.layers)

    def __call__(self, iterator: Iterator[Any], enabled: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes an update on the next batch and returns its metrics."""
        del enabled  # Only called if it is true.

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

        # The update is a branch, as zeros in place of the gradients would still move weights and averages.
        return {**values, "finite": tf.cond(finite, update, lambda: tf.constant(False))}

    def _reduced_gradients(self, batch):
        """Returns the gradients and loss terms of the global batch, of which `batch` is the part on this replica."""
        replica = tf.distribute.get_replica_context()
        gradients, values = self._gradients(batch, self._seed(replica))
        if replica.num_replicas_in_sync > 1:
            gradients, values = replica.all_reduce("sum", (gradients, values))
        return gradients, values

    def _gradients(self, batch, seed):
        """Returns gradients and loss terms, scaled so that their sum over the replicas is that of the global batch."""
        config = self._config

        def objective(part, number):
            part_seed = None if seed is None else tf.random.experimental.stateless_fold_in(seed, number)
            terms = losses(
                self._flow,
                part,
                config.label_loss_weight,
                self._labelled_share,
                network_precision=self._flow.runtime.network_precision,
                training=True,
                seed=part_seed,
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
        """Returns the seed for networks that are random, None if there are none."""
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
    """One update as two programs compiled by XLA: one for loss and gradients, one for the update itself.

    Nothing in between waits for the device: whether all values are finite is only known there, and decides there
    whether the update counts.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        # A compiled program has each loop over flow steps once, whatever their number. XLA reads no input pipeline.
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
    """Returns the names of the loss and its terms, the loss first."""
    return ["loss", "bits_per_dim", *(["label_bits", "label_error"] if config.classifier else [])]
