"""The training step, compiled once for all steps."""

from collections.abc import Callable

import keras
import tensorflow as tf

from glow_tf.models.flow import Flow
from glow_tf.training.config import TrainingConfig
from glow_tf.training.loss import losses

TrainFunction = Callable[[object, tf.Tensor], dict[str, tf.Tensor]]


def make_train_function(
    flow: Flow, optimizer: keras.optimizers.Optimizer, strategy: tf.distribute.Strategy, config: TrainingConfig
) -> TrainFunction:
    """A function that takes an iterator over distributed batches and a number of steps, makes so many updates, and
    returns the means over them of `loss`, `bits_per_dim`, `gradient_norm` and what else `losses` gives.
    """
    variables = list(flow.named_variables(trainable=True).values())
    names = ["loss", "bits_per_dim", "gradient_norm"]
    if flow.config.classifier:
        names += ["label_bits", "label_error"]

    def replica_step(batch):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            parts = losses(flow, batch["x"], batch["labels"], config.label_loss_weight)
            # Divided by the global batch: the sum over replicas is then the mean over all images.
            parts = {name: tf.reduce_sum(part) / config.batch_size for name, part in parts.items()}
        gradients = tape.gradient(parts["loss"], variables, unconnected_gradients="zero")
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync
        if replicas > 1:
            gradients, parts = replica.all_reduce("sum", (gradients, parts))
        norm = tf.linalg.global_norm(gradients)
        if config.clip_norm or replicas > 1:
            factor = tf.minimum(tf.ones_like(norm), config.clip_norm / norm) if config.clip_norm else 1.0
            # Keras adds up the gradients of the replicas, which here all hold the sum already.
            gradients = [gradient * (factor / replicas) for gradient in gradients]
        optimizer.apply(gradients, variables)
        return {**parts, "gradient_norm": norm}

    def global_step(iterator):
        parts = strategy.run(replica_step, args=(next(iterator),))
        return {name: strategy.experimental_local_results(part)[0] for name, part in parts.items()}

    # Nothing in a step needs autograph, whose conversion of every function called would double the time to trace.
    @tf.function(autograph=False)
    def train(iterator, steps):
        def one_more(step, totals):
            parts = global_step(iterator)
            return step + 1, {name: totals[name] + parts[name] for name in names}

        zeros = {name: tf.zeros([], flow.dtype) for name in names}
        _, totals = tf.while_loop(lambda step, _: step < steps, one_more, (0, zeros), parallel_iterations=1)
        return {name: total / tf.cast(steps, total.dtype) for name, total in totals.items()}

    return train
