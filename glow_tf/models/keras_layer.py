"""A flow as a Keras layer, for models trained with `fit`."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from glow_tf.arguments import one_of
from glow_tf.config import ModelConfig
from glow_tf.models import checks
from glow_tf.models.flow import Flow
from glow_tf.models.likelihood import likelihood
from glow_tf.models.seeds import stateless_seed
from glow_tf.runtime.runtime import Runtime

OUTPUTS = ("bits_per_dim", "log_prob", "latents")


@keras.saving.register_keras_serializable(package="glow_tf")
class FlowLayer(keras.layers.Layer):
    """A flow as a layer of a Keras model, which trains, saves and loads the flow's variables.

    The layer is called on images [B, H, W, C] or, for a conditional model, on a pair or a dictionary of `images` and
    `labels`. Images are uint8, or floats with the same values, to which Keras converts uint8 in a `Sequential` model;
    the data of a model of real numbers are floats. In training, each image is dequantized with fresh noise; otherwise
    the noise depends only on the image, as in `Flow.bits_per_dim`, and latents are those of `Flow.encode`. Networks are
    computed in the `network_precision` of the flow's runtime in training, and in float32 otherwise. Floats that are no
    whole numbers from 0 to 255 are refused or, in a model compiled by XLA, as Keras does by default on GPUs, give NaN.

    Args:
      flow: the flow, with which the layer shares its variables.
      output: output of the layer: `bits_per_dim` [B], `log_prob` [B], in nats, of the dequantized images, or `latents`
        [B, D].
      loss_weight: factor on the mean bits per dimension, which is added to the model's loss in training and evaluation;
        0 adds none, as where the latents are inputs of a model with a loss of its own.
      seed: seed of the dequantization noise and of dropout in training.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      ValueError: if `output` is unknown.
    """

    def __init__(
        self, flow: Flow, *, output: str = "bits_per_dim", loss_weight: float = 1.0, seed: int = 0, **kwargs: Any
    ):
        one_of("output", output, OUTPUTS)
        super().__init__(**{"dtype": flow.dtype.name, **kwargs})
        self.flow = flow
        self._output, self._loss_weight, self._seed = output, loss_weight, seed
        self._noise = keras.random.SeedGenerator(seed)
        # A `keras.Variable` made from a `tf.Variable` wraps it, without a copy.
        self._flow_variables = [
            keras.Variable(v, trainable=v.trainable, dtype=v.dtype.name, name=path.replace("/", "_"))
            for path, v in {**flow.named_variables(), "initialized": flow.initialized}.items()
        ]
        self.built = True

    def adapt(self, images: np.ndarray, labels: np.ndarray | None = None) -> None:
        """Initialises the flow from a few dozen images, before training; see `Flow.initialize`."""
        self.flow.initialize(images, labels)

    def call(self, inputs, training=False):
        images, labels = _images_and_labels(inputs)
        valid = tf.constant(True)
        if self.flow.config.n_bits is not None:
            images, valid = _as_uint8(images)
        images = checks.check_images(self.flow.config, images)
        encodes = self._output == "latents" and not training
        found = None if encodes and not self._loss_weight else self._likelihood(images, labels, training)
        if self._loss_weight:
            self.add_loss(_nan_unless(valid, self._loss_weight * tf.reduce_mean(found.bits_per_dim)))
        output = self.flow.encode(images, labels) if encodes else getattr(found, self._output)
        return _nan_unless(valid, output)

    def _likelihood(self, images, labels, training):
        if not training:
            return self.flow.likelihood(images, labels)
        seed = stateless_seed(tf.convert_to_tensor(self._noise.next()))
        options = {"training": True, "network_precision": self.flow.runtime.network_precision}
        x, log_q = self.flow.dequantize(images, labels, seed, per_image=False, **options)
        return likelihood(self.flow, x, log_q, labels, seed=seed, **options)

    def get_config(self):
        return {
            **super().get_config(),
            "flow": self.flow.config.to_json(),
            "network_precision": self.flow.runtime.network_precision,
            "output": self._output,
            "loss_weight": self._loss_weight,
            "seed": self._seed,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        dtype = keras.dtype_policies.get(config.pop("dtype")).compute_dtype
        # Layers that were saved by earlier versions have none.
        runtime = Runtime.detect(network_precision=config.pop("network_precision", "float32"))
        flow = Flow(ModelConfig.from_json(config.pop("flow")), dtype=tf.as_dtype(dtype), runtime=runtime)
        return cls(flow, **config)


def keras_layer(flow: Flow, **kwargs: Any) -> FlowLayer:
    """Returns the flow as a Keras layer; for the arguments, see `FlowLayer`.

    ```
    layer = glow_tf.keras_layer(glow_tf.Flow(glow_tf.glow((32, 32, 3), K=8, L=3, width=128)))
    layer.adapt(images[:64])
    model = keras.Sequential([layer])
    model.compile("adamax")
    model.fit(images)
    ```
    """
    return FlowLayer(flow, **kwargs)


def _as_uint8(images):
    """Returns images as uint8, and whether all are whole numbers from 0 to 255: assertions have no effect under XLA."""
    images = tf.convert_to_tensor(images)
    if not images.dtype.is_floating:
        return images, tf.constant(True)
    whole = tf.reduce_all((images == tf.floor(images)) & (images >= 0) & (images <= 255))
    message = "Images must hold whole numbers from 0 to 255; scale them, and convert them to uint8."
    with tf.control_dependencies([tf.debugging.Assert(whole, [message])]):
        return tf.cast(images, tf.uint8), whole


def _nan_unless(valid, values):
    return tf.where(valid, values, tf.constant(math.nan, values.dtype))


def _images_and_labels(inputs):
    if isinstance(inputs, Mapping):
        return inputs["images"], inputs.get("labels")
    return inputs if isinstance(inputs, tuple | list) else (inputs, None)
