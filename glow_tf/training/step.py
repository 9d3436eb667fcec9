"""The training step, compiled once for all steps."""

from collections.abc import Callable

import tensorflow as tf

from glow_tf.config import ModelConfig
from glow_tf.models.flow import Flow
from glow_tf.models.parts import parts_at_once
from glow_tf.training.config import TrainingConfig
from glow_tf.training.loss import losses
from glow_tf.training.optimizer import Adam, Adamax

TrainFunction = Callable[[object, tf.Tensor], dict[str, tf.Tensor]]


def metric_names(config: ModelConfig) -> list[str]:
    """The names of what the train function of a model reports beside `finite`."""
    of_classifier = ["label_bits", "label_error"] if config.classifier else []
    return ["loss", "bits_per_dim", *of_classifier, "gradient_norm"]


def make_train_function(
    flow: Flow, optimizer: Adamax | Adam, strategy: tf.distribute.Strategy, config: TrainingConfig
) -> TrainFunction:
    """A function that takes an iterator over distributed batches and a number of steps, and makes so many updates.

    A step whose loss or gradient is not finite changes nothing, and is the last one of the call.

    A batch is taken in parts: `config.accumulate_steps` one after the other, or where `parts_at_once` says so, more, of
    which so many are computed at the same time, each with a gradient of its own.

    It returns vectors with a value for each step made: `loss`, `bits_per_dim` and what else `losses` gives, as means
    over the batch; `gradient_norm`; and `finite`.
    """
    variables = list(flow.named_variables(trainable=True).values())
    names = [name for name in metric_names(flow.config) if name != "gradient_norm"]
    network_dtype = tf.bfloat16 if config.mixed_precision else None

    def gradients_of_sum(batch):
        """The gradients and the parts of the loss of some images, so scaled that those of all images add up."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            parts = losses(flow, batch["x"], batch["labels"], config.label_loss_weight, network_dtype=network_dtype)
            parts = {name: tf.reduce_sum(parts[name]) / config.batch_size for name in names}
        return tape.gradient(parts["loss"], variables, unconnected_gradients="zero"), parts

    images = config.batch_size // strategy.num_replicas_in_sync
    at_once = 1 if config.xla else min(parts_at_once(), images // config.accumulate_steps)
    count = config.accumulate_steps * at_once

    def part_of(t, i):
        part = t[i * images // count : (i + 1) * images // count]
        return part if images % count else tf.ensure_shape(part, [images // count, *t.shape[1:]])

    def accumulated_gradients(batch):
        if count == 1:
            return gradients_of_sum(batch)

        def add(i, totals):
            gradients, parts = gradients_of_sum(tf.nest.map_structure(lambda t: part_of(t, i), batch))
            # In an order, for without one TensorFlow's graph optimizer joins them with other additions to sums in
            # temporary variables, which fail in a loop that is run again.
            with tf.control_dependencies([parts["loss"]]):
                totals = tf.nest.map_structure(tf.add, totals, (gradients, parts))
            return i + 1, totals

        zeros = [tf.zeros(v.shape, v.dtype) for v in variables], {name: tf.zeros([], flow.dtype) for name in names}
        return tf.while_loop(lambda i, _: i < count, add, (0, zeros), parallel_iterations=at_once)[1]

    # What is compiled holds each loop over steps of flow once, whatever their number. XLA reads no input pipeline, and
    # the update is one operation a variable as it is.
    compiled_gradients = tf.function(accumulated_gradients, jit_compile=True, autograph=False)

    def gradients_on_replica(batch):
        gradients, parts = compiled_gradients(batch) if config.xla else accumulated_gradients(batch)
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync > 1:
            gradients, parts = replica.all_reduce("sum", (gradients, parts))
        return gradients, {**parts, "gradient_norm": tf.linalg.global_norm(gradients)}

    def update_on_replica(gradients, norm):
        if config.clip_norm:
            factor = tf.minimum(tf.ones_like(norm), config.clip_norm / norm)
            gradients = [gradient * factor for gradient in gradients]
        optimizer.apply(gradients, variables)

    def global_step(iterator):
        gradients, parts = strategy.run(gradients_on_replica, args=(next(iterator),))
        norm = parts["gradient_norm"]
        parts = {name: strategy.experimental_local_results(part)[0] for name, part in parts.items()}
        finite = tf.math.is_finite(parts["loss"]) & tf.math.is_finite(parts["gradient_norm"])

        def update():
            strategy.run(update_on_replica, args=(gradients, norm))
            return tf.constant(True)

        # A branch that makes the update, as zeros in place of the gradients would still move weights and averages.
        return tf.cond(finite, update, lambda: tf.constant(False)), parts

    # Nothing in a step needs autograph, whose conversion of every function called would double the time to trace.
    @tf.function(autograph=False)
    def train(iterator, steps):
        def one_more(step, _, made):
            finite, parts = global_step(iterator)
            return step + 1, finite, {name: made[name].write(step, {**parts, "finite": finite}[name]) for name in made}

        dtypes = {**dict.fromkeys(metric_names(flow.config), flow.dtype), "finite": tf.bool}
        empty = {name: tf.TensorArray(dtype, size=steps, element_shape=[]) for name, dtype in dtypes.items()}
        count, _, made = tf.while_loop(
            lambda step, finite, _: finite & (step < steps), one_more, (0, True, empty), parallel_iterations=1
        )
        return {name: values.stack()[:count] for name, values in made.items()}

    return train
