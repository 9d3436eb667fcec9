"""Small models with random weights for the analysis tests."""

import functools

import numpy as np

import glow_tf
from glow_tf.runtime.runtime import Runtime
from tests.models.flows import moved_flow, without_top_steps

PLAIN = without_top_steps(glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5))
GREY = glow_tf.glow((8, 8, 1), K=1, L=2, width=4)
CONDITIONAL = glow_tf.glow((8, 8, 3), K=1, L=2, width=4, num_classes=3)
LOGISTIC = glow_tf.nice((4, 4, 1), K=2, width=8, blocks=1)
CLASSIFIER = glow_tf.glow((8, 8, 3), K=1, L=2, width=4, num_classes=3, conditional=False, classifier=True)
CONFIGS = {"plain": PLAIN, "grey": GREY, "conditional": CONDITIONAL, "classifier": CLASSIFIER}


@functools.cache
def flow(name="plain", *, shards=1):
    found = moved_flow({**CONFIGS, "logistic": LOGISTIC}[name], seed=3)
    found.runtime = Runtime(shards=shards)
    return found


def images(count, name="plain", seed=0):
    return np.random.default_rng(seed).integers(0, 256, [count, *flow(name).config.image_shape], np.uint8)


def labels(count, name="plain"):
    return np.arange(count, dtype=np.int32) % 3 if flow(name).config.conditional else None


def quantized(pictures, n_bits):
    """The leading bits of pictures, as seen by a model with `n_bits`."""
    return pictures // 2 ** (8 - n_bits) * 2 ** (8 - n_bits)


def displayed(pictures, n_bits):
    """Pictures as displayed: the leading bits, spread over 0 to 255."""
    return np.round(pictures // 2 ** (8 - n_bits) * (255 / (2**n_bits - 1))).astype(np.uint8)
