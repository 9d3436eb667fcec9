"""Custom layers, transforms, networks, partitions and dequantizers as a user writes them, in a separate file."""

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import glow_tf
from glow_tf.dequantization import random


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleAndShift(glow_tf.layers.Layer):
    """y = (x + shift) * exp(log_scale), both per channel; also has integers, which are not trained."""

    initial: float = 1.0
    names: tuple[str, ...] = ("scale", "shift")

    def parameters(self, shape, rng):
        return {
            "log_scale": np.full([shape[-1]], np.log(self.initial)),
            "shift": 0.1 * rng.standard_normal(shape[-1]),
            "order": np.arange(shape[-1]),
        }

    def bijector(self, shape, tensors, context=None):
        scale = tfp.bijectors.Scale(log_scale=tf.convert_to_tensor(tensors["log_scale"]))
        return tfp.bijectors.Chain([scale, tfp.bijectors.Shift(tf.convert_to_tensor(tensors["shift"]))])

    def initialize(self, shape, tensors, x):
        values = {"shift": -tf.reduce_mean(x, axis=range(x.shape.rank - 1))}
        return values, self.bijector(shape, {**tensors, **values}).forward(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropChannels(glow_tf.layers.Layer):
    """Factors out the last `count` channels unchanged: a split into unequal parts."""

    is_prior: ClassVar[bool] = True

    count: int

    def output_shape(self, shape):
        if self.count >= shape[-1]:
            raise ValueError(f"drops {self.count} channels; it gets {shape}.")
        return *shape[:-1], shape[-1] - self.count

    def bijector(self, shape, tensors, context=None):
        return glow_tf.bijectors.Split(None, event_ndims=len(shape))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sinh(glow_tf.transforms.Transform):
    """y = sinh(asinh(x) + h), without a custom vector-Jacobian product."""

    parameters_per_dim: ClassVar[int] = 1

    def forward(self, x, h):
        t = tf.asinh(x) + h[..., 0]
        return tf.sinh(t), tf.math.log(tf.cosh(t)) - 0.5 * tf.math.log1p(x**2)

    def inverse(self, y, h):
        t = tf.asinh(y) - h[..., 0]
        return tf.sinh(t), tf.math.log(tf.cosh(t)) - 0.5 * tf.math.log1p(y**2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense(glow_tf.networks.Network):
    """Two 1x1 convolutions with dropout in between, and a term linear in the context, if there is one."""

    width: int
    context_channels: int = 0
    dropout: float = 0.0

    def parameters(self, rng, depth, inputs, outputs, shape):
        nest = {
            "enter": 0.3 * rng.standard_normal([depth, inputs, self.width]),
            "leave": np.zeros([depth, self.width, outputs]),
        }
        if self.context_channels:
            nest["context"] = 0.3 * rng.standard_normal([depth, self.context_channels, self.width])
        return nest

    def apply(self, tensors, x, context=None, training=False, seed=None):
        h = tf.tanh(glow_tf.products.matmul(x, tensors["enter"]))
        if self.context_channels:
            context_term = glow_tf.products.matmul(context["embedding"], tensors["context"])
            h += tf.reshape(context_term, [-1, *[1] * (h.shape.rank - 2), self.width])
        if training and self.dropout:
            keep = tf.random.stateless_uniform(tf.shape(h), seed, dtype=h.dtype) >= self.dropout
            h = tf.where(keep, h / (1 - self.dropout), tf.zeros([], h.dtype))
        return glow_tf.products.matmul(h, tensors["leave"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class OddChannels(glow_tf.partitions.Partition):
    """Even channels condition; odd channels are transformed."""

    def channels(self, shape):
        return (shape[-1] + 1) // 2, shape[-1] // 2

    def divide(self, x, swap=0):
        return x[..., 0::2], x[..., 1::2]

    def merge(self, x1, x2, swap=0):
        channels = x1.shape[-1] + x2.shape[-1]
        order = [i // 2 + (i % 2) * x1.shape[-1] for i in range(channels)]
        return tf.gather(tf.concat([x1, x2], -1), order, axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitNormal(glow_tf.dequantization.Dequantizer):
    """u = sigmoid(shift + slope * image + exp(log_scale) * noise), all per channel, and a shift per label."""

    num_classes: int = 0

    def num_classes_needed(self):
        return self.num_classes

    def parameters(self, shape, rng):
        labels = {"of_label": 0.1 * rng.standard_normal([self.num_classes, shape[-1]])} if self.num_classes else {}
        return {"shift": np.zeros(shape[-1]), "slope": np.zeros(shape[-1]), "log_scale": np.zeros(shape[-1]), **labels}

    def noise(self, images, tensors, seed, context=None):
        noise = random.normal_like(images, seed)
        shift = tensors["shift"] + tensors["slope"] * self.quantize(images)
        if self.num_classes:
            label_shift = tf.gather(tensors["of_label"], context["labels"])
            shift += tf.reshape(label_shift, [-1, *[1] * (len(images.shape) - 2), images.shape[-1]])
        t = shift + tf.exp(tensors["log_scale"]) * noise
        log_slope = tf.math.log_sigmoid(t) + tf.math.log_sigmoid(-t)
        log_normal = -0.5 * noise**2 - 0.5 * np.log(2 * np.pi) - tensors["log_scale"]
        return self.within_bins(images, tf.sigmoid(t), log_normal - log_slope)

    def initialize(self, images, tensors, seed, context=None):
        values = {"shift": -tf.reduce_mean(self.quantize(images), axis=range(images.shape.rank - 1))}
        return values, self.noise(images, {**tensors, **values}, seed, context)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kumaraswamy(glow_tf.dequantization.Dequantizer):
    """Noise with density a u^(a - 1), with one `a` per channel."""

    def parameters(self, shape, rng):
        return {"log_a": np.zeros(shape[-1])}

    def noise(self, images, tensors, seed, context=None):
        a = tf.exp(tensors["log_a"])
        log_u = tf.math.log1p(-random.uniform_like(images, seed)) / a  # finite, where u is too small for a float
        return self.within_bins(images, tf.exp(log_u), tf.math.log(a) + (a - 1) * log_u)
