"""Small SavedModels for the tests of the page."""

import functools
import pathlib

import numpy as np

from glow_tf.analysis.attributes import Directions
from glow_tf.demo.model import DemoModel
from glow_tf.export.saved_model import export_saved_model
from tests.analysis.models import flow
from tests.saved_models import shared

NAMES = ("Smiling", "Wearing_Hat", "dark", "Young")
# Of each model, the names of its attributes.
ATTRIBUTES = {"plain": NAMES, "conditional": NAMES[:3], "grey": ()}


def directions(name: str) -> Directions | None:
    """Random directions, the third attribute's the shortest and the first one's the longest."""
    names = ATTRIBUTES[name]
    if not names:
        return None
    lengths = np.array([4.0, 2.0, 1.0, 3.0])[: len(names), np.newaxis]
    vectors = np.random.default_rng(5).standard_normal([len(names), flow(name).config.dimensions])
    vectors *= lengths / np.linalg.norm(vectors, axis=1, keepdims=True)
    counts = np.ones(len(names), int)
    return Directions(names, vectors.astype(np.float32), counts, counts)


@functools.cache
def saved(name: str) -> pathlib.Path:
    """The directory of the SavedModel of one of the flows of `tests.analysis.models`."""
    return shared(f"demo_{name}", lambda path: export_saved_model(flow(name), path, directions(name)))


@functools.cache
def loaded(name: str) -> DemoModel:
    return DemoModel(saved(name))
