"""Glow in TensorFlow Probability: tfb.Glow with its default networks, of the given width.

Differences from glow_tf: coupling networks have biases instead of actnorms, and no border channel; the top prior is
standard normal; no moving average. TFP evaluates every coupling network once for the inverse and once for its log-det.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from glow_tf.commands.timing import peak_memory
from tools.peers.model import LEARNING_RATE, TEMPERATURE, Model

tfb, tfd = tfp.bijectors, tfp.distributions


def build(model: Model) -> dict[str, Callable[[], float]]:
    """Builds the workloads."""
    tf.config.threading.set_intra_op_parallelism_threads(model.threads)
    tf.config.threading.set_inter_op_parallelism_threads(model.threads)
    tf.config.experimental.enable_tensor_float_32_execution(model.precision != "float32")
    for gpu in tf.config.list_physical_devices("GPU"):
        # By default TensorFlow allocates all of a GPU's memory, and leaves none to other peers.
        tf.config.experimental.set_memory_growth(gpu, True)
    glow = make_bijector(model)
    shape = [model.batch_size, model.image_size, model.image_size, 3]
    images = tf.constant(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    optimizer = tf_keras.optimizers.Adamax(LEARNING_RATE)

    def distribution(scale: float = 1.0) -> tfd.Distribution:
        return glow(tfd.Sample(tfd.Normal(0.0, scale), [model.dimensions]))

    def bits_per_dim() -> tf.Tensor:
        x = (tf.cast(images, tf.float32) + tf.random.uniform(shape)) / 256 - 0.5
        return 8 - tf.reduce_mean(distribution().log_prob(x)) / (model.dimensions * math.log(2))

    @tf.function(autograph=False)
    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = bits_per_dim()
        variables = glow.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    likelihood = tf.function(bits_per_dim, autograph=False)
    sample = tf.function(
        lambda: tf.reduce_mean(distribution(TEMPERATURE).sample(model.batch_size)),
        autograph=False,
    )
    # Initialises the actnorms from images, not latents.
    bits_per_dim()
    functions = {"train": train, "likelihood": likelihood, "sample": sample}
    found = {name: lambda function=function: float(function()) for name, function in functions.items()}
    return {**found, "memory": lambda: peak_memory("GPU:0")} if model.device == "cuda" else found


def make_bijector(model: Model) -> tfb.Glow:
    """Returns the model, which maps flat latents to images."""
    return tfb.Glow(
        output_shape=(model.image_size, model.image_size, 3),
        num_glow_blocks=model.L,
        num_steps_per_block=model.K,
        coupling_bijector_fn=functools.partial(tfb.GlowDefaultNetwork, num_hidden=model.width),
        exit_bijector_fn=tfb.GlowDefaultExitNetwork,
        seed=0,
    )
