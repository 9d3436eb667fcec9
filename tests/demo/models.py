"""Small models for the tests of the page, loaded as the page loads them."""

import functools

import numpy as np

from glow_tf.demo.model import DemoModel
from tests.saved_models import flow, saved

NAMES = ("glow", "conditional", "grey")


@functools.cache
def loaded(name: str) -> DemoModel:
    return DemoModel(saved(name))


def images(count: int, name: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [count, *flow(name).config.image_shape], np.uint8)


def labels(count: int, name: str) -> np.ndarray | None:
    return np.arange(count, dtype=np.int32) % 3 if flow(name).config.conditional else None
