"""A flow as a SavedModel that plain TensorFlow loads."""

import os
import pathlib
import shutil

import tensorflow as tf

from glow_tf.models import quantization
from glow_tf.models.flow import Flow, stateless_seed
from glow_tf.models.storage import errors_of_the_system, unfinished


class ServedFlow(tf.Module):
    """The signatures of the SavedModel; all of them take any batch size.

    With a label-conditional model every one of them also takes `labels`: [B] int32.

      log_prob(images: [B, H, W, C] uint8, seed: int32)    ->  log_prob: [B], bits_per_dim: [B]
      encode(images: [B, H, W, C] uint8)                   ->  latents: [B, D]
      decode(latents: [B, D])                              ->  images: [B, H, W, C] uint8
      sample(num: int32, temperature: float, seed: int32)  ->  images: [num, H, W, C] uint8

    log_prob is in nats, of the discrete image: the dequantized density less D log 2^n_bits, under one draw of noise.

    Args:
      flow: the model; its variables become the SavedModel's.
    """

    def __init__(self, flow: Flow):
        super().__init__(name="served_flow")
        self.flow = flow
        config, dtype = flow.config, flow.dtype
        images = tf.TensorSpec([None, *config.image_shape], tf.uint8, "images")
        latents = tf.TensorSpec([None, config.dimensions], dtype, "latents")
        seed = tf.TensorSpec([], tf.int32, "seed")
        num = tf.TensorSpec([], tf.int32, "num")
        temperature = tf.TensorSpec([], dtype, "temperature")
        labels = [tf.TensorSpec([None], tf.int32, "labels")] if config.conditional else []
        self.log_prob = tf.function(self._log_prob, input_signature=[images, seed, *labels], autograph=False)
        self.encode = tf.function(self._encode, input_signature=[images, *labels], autograph=False)
        self.decode = tf.function(self._decode, input_signature=[latents, *labels], autograph=False)
        self.sample = tf.function(self._sample, input_signature=[num, temperature, seed, *labels], autograph=False)

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The concrete functions by signature name."""
        names = ("log_prob", "encode", "decode", "sample")
        return {name: getattr(self, name).get_concrete_function() for name in names}

    def _log_prob(self, images, seed, labels=None):
        config = self.flow.config
        x = quantization.dequantize(images, config.n_bits, tf.stack([0, seed]), self.flow.dtype)
        density = self.flow.distribution(labels).log_prob(x)
        discrete = density - quantization.log_levels(config.dimensions, config.n_bits)
        return {"log_prob": discrete, "bits_per_dim": self.flow.bits_per_dim_of(density)}

    def _encode(self, images, labels=None):
        return {"latents": self.flow.encode(images, labels)}

    def _decode(self, latents, labels=None):
        return {"images": self.flow.decode(latents, labels)}

    def _sample(self, num, temperature, seed, labels=None):
        if labels is not None:
            tf.debugging.assert_equal(tf.size(labels), num, "labels needs one entry for each of num images.")
        return {"images": self.flow.sample(num, temperature, labels, stateless_seed(tf.stack([0, seed])))}


def export_saved_model(flow: Flow, path: str | os.PathLike) -> None:
    """Writes `flow` as a SavedModel at `path`, in place of one that is there, whole or not at all.

    Raises:
      OSError: if it cannot be written.
    """
    path = pathlib.Path(path)
    temporary = unfinished(path)
    served = ServedFlow(flow)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with errors_of_the_system(path):
            tf.saved_model.save(served, str(temporary), signatures=served.signatures())
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if path.exists():
        shutil.rmtree(path)
    temporary.replace(path)
