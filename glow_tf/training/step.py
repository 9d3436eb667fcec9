"""The training step, compiled once for all steps."""

from collections.abc import Callable

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models.flow import Flow
from glow_tf.runtime.sharding import num_shards
from glow_tf.training.config import TrainingConfig
from glow_tf.training.loss import losses
from glow_tf.training.optimizer import Adam, Adamax

TrainFunction = Callable[..., dict[str, tf.Tensor]]


def metric_names(config: ModelConfig) -> list[str]:
    """The names of what the train function of a model reports beside `finite`."""
    of_classifier = ["label_bits", "label_error"] if config.classifier else []
    return ["loss", "bits_per_dim", *of_classifier, "gradient_norm"]


def make_train_function(
    flow: Flow, optimizer: Adamax | Adam, strategy: tf.distribute.Strategy, config: TrainingConfig
) -> TrainFunction:
    """A function that takes an iterator over distributed batches and a number of steps, and makes so many updates.

    A step whose loss or gradient is not finite changes nothing, and is the last one of the call; where fewer steps are
    made than asked for, the iterator may be further than they are. With a third argument of False nothing is changed,
    but all is compiled.

    A batch is taken in parts: `config.accumulate_steps` one after the other, or where `num_shards` says so, more, of
    which so many are computed at the same time, each with a gradient of its own.

    With `config.xla`, XLA compiles loss and gradients to one program and the update to another, and nothing in between
    waits for a device: what is known there alone, whether all is finite, decides there whether the update counts.

    It returns vectors with a value for each step made: `loss`, `bits_per_dim` and what else `losses` gives, as means
    over the batch; `gradient_norm`; and `finite`.
    """
    variables = list(flow.named_variables(trainable=True).values())
    names = [name for name in metric_names(flow.config) if name != "gradient_norm"]
    gradients_of = _gradients_function(flow, variables, names, config, strategy.num_replicas_in_sync)

    is_random = any(layer.is_random() for layer in flow.config.layers)

    def reduced_gradients(batch):
        replica = tf.distribute.get_replica_context()
        seed = None
        if is_random:
            seed = tf.stack([tf.constant(config.seed, tf.int64), optimizer.iterations.value])
            seed = tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)
        gradients, parts = gradients_of(batch, seed)
        if replica.num_replicas_in_sync > 1:
            gradients, parts = replica.all_reduce("sum", (gradients, parts))
        return gradients, parts

    def clipped(gradients, norm):
        if not config.clip_norm:
            return gradients
        factor = tf.minimum(tf.ones_like(norm), config.clip_norm / norm)
        return [gradient * factor for gradient in gradients]

    def compiled_update(gradients, loss, enabled):
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        optimizer.apply_on_replica(clipped(gradients, norm), variables, enabled & finite)
        return norm, finite

    compiled_update = tf.function(compiled_update, jit_compile=True, autograph=False)

    def compiled_step(iterator, enabled):
        def on_replica(batch):
            gradients, parts = reduced_gradients(batch)
            norm, finite = compiled_update(gradients, parts["loss"], enabled)
            return {**parts, "gradient_norm": norm, "finite": finite}

        return first_of_each(strategy.run(on_replica, args=(next(iterator),)))

    def step(iterator, enabled):
        del enabled

        def on_replica(batch):
            gradients, parts = reduced_gradients(batch)
            return gradients, {**parts, "gradient_norm": tf.linalg.global_norm(gradients)}

        gradients, parts = strategy.run(on_replica, args=(next(iterator),))
        norm, parts = parts["gradient_norm"], first_of_each(parts)
        finite = tf.math.is_finite(parts["loss"]) & tf.math.is_finite(parts["gradient_norm"])

        def update():
            strategy.run(lambda g, n: optimizer.apply(clipped(g, n), variables), args=(gradients, norm))
            return tf.constant(True)

        # A branch that makes the update, as zeros in place of the gradients would still move weights and averages.
        return {**parts, "finite": tf.cond(finite, update, lambda: tf.constant(False))}

    def first_of_each(parts):
        return {name: strategy.experimental_local_results(part)[0] for name, part in parts.items()}

    # Nothing in a step needs autograph, whose conversion of every function called would double the time to trace.
    @tf.function(autograph=False)
    def train(iterator, steps, enabled=True):
        enabled = tf.convert_to_tensor(enabled)

        def one_more(i, enabled, made):
            values = (compiled_step if config.xla else step)(iterator, enabled)
            return i + 1, enabled & values["finite"], {name: made[name].write(i, values[name]) for name in made}

        def goes_on(i, enabled, _):
            # To look at `enabled` would be to wait for the device.
            return i < steps if config.xla else enabled & (i < steps)

        dtypes = {**dict.fromkeys(metric_names(flow.config), flow.dtype), "finite": tf.bool}
        empty = {name: tf.TensorArray(dtype, size=steps, element_shape=[]) for name, dtype in dtypes.items()}
        count, _, made = tf.while_loop(goes_on, one_more, (0, enabled, empty), parallel_iterations=1)
        made = {name: values.stack() for name, values in made.items()}
        if config.xla:
            count = tf.reduce_sum(tf.math.cumprod(tf.cast(made["finite"], tf.int32), exclusive=True))
        return {name: values[:count] for name, values in made.items()}

    return train


def _gradients_function(
    flow: Flow, variables: list[tf.Variable], names: list[str], config: TrainingConfig, replicas: int
) -> Callable[[dict[str, tf.Tensor], tf.Tensor | None], tuple[list[tf.Tensor], dict[str, tf.Tensor]]]:
    """A function of a replica's batch and the seed of networks that are random, None where none is.

    It gives gradients and parts of the loss, so scaled that those of all replicas add up.
    """

    def gradients_of_sum(batch, seed):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            parts = losses(
                flow,
                batch,
                config.label_loss_weight,
                network_precision=config.network_precision,
                training=True,
                seed=seed,
            )
            parts = {name: tf.reduce_sum(parts[name]) / config.batch_size for name in names}
        return tape.gradient(parts["loss"], variables, unconnected_gradients="zero"), parts

    images = config.batch_size // replicas
    at_once = 1 if config.xla else min(num_shards(), images // config.accumulate_steps)
    count = config.accumulate_steps * at_once

    def part_of(t, i):
        if images % count:
            return t[i * images // count : (i + 1) * images // count]
        size = images // count
        return tf.slice(t, [i * size, *[0] * (t.shape.rank - 1)], [size, *t.shape[1:]])

    def gradients_of_parts(batch, seed):
        def add(i, totals):
            own = None if seed is None else tf.random.experimental.stateless_fold_in(seed, i)
            gradients, parts = gradients_of_sum(tf.nest.map_structure(lambda t: part_of(t, i), batch), own)
            # In an order, for without one TensorFlow's graph optimizer joins them with other additions to sums in
            # temporary variables, which fail in a loop that is run again.
            with tf.control_dependencies([parts["loss"]]):
                totals = tf.nest.map_structure(tf.add, totals, (gradients, parts))
            return i + 1, totals

        zeros = [tf.zeros(v.shape, v.dtype) for v in variables], {name: tf.zeros([], flow.dtype) for name in names}
        return tf.while_loop(lambda i, _: i < count, add, (0, zeros), parallel_iterations=at_once)[1]

    function = gradients_of_sum if count == 1 else gradients_of_parts
    # What is compiled holds each loop over steps of flow once, whatever their number. XLA reads no input pipeline.
    return tf.function(function, jit_compile=True, autograph=False) if config.xla else function
