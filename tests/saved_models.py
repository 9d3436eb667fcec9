"""SavedModels of small flows, each of which is written once, however many processes test."""

import functools
import os
import pathlib
import tempfile
from collections.abc import Callable

import filelock
import numpy as np

import glow_tf
from glow_tf.analysis.attributes import Directions
from glow_tf.export.saved_model import export_saved_model
from tests import gradients
from tests.models.flows import moved_flow, without_top_steps

CONFIGS = {
    "glow": without_top_steps(glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5)),
    "grey": glow_tf.glow((8, 4, 1), K=1, L=2, width=4),
    "conditional": glow_tf.glow((8, 8, 3), K=1, L=1, width=4, num_classes=3),
    "real_nvp": glow_tf.real_nvp((8, 8, 1), L=1, width=4, blocks=1),
    "nice": glow_tf.nice((8, 8, 1), K=2, width=8, blocks=1),
    "sound": glow_tf.glow_1d((16, 1), K=2, L=2, width=4),
    "flat": glow_tf.nice((12,), K=2, width=8, blocks=1),
}
# Of two models, the names of their attributes.
ATTRIBUTES = {
    "glow": ("Smiling", "Wearing_Hat", "dark", "größe"),
    "conditional": ("Smiling", "Wearing_Hat", "dark"),
}


def examples(config: glow_tf.ModelConfig, n: int) -> np.ndarray:
    """Data such as a flow models, [n, ...]: uint8, or float32 for one of real numbers."""
    rng = np.random.default_rng(0)
    if config.n_bits is None:
        return rng.uniform(-0.9, 0.9, [n, *config.image_shape]).astype(np.float32)
    return rng.integers(0, 256, [n, *config.image_shape], np.uint8)


# Where the folder that all processes share is; set before they start.
FOLDER = "GLOW_TF_TEST_FOLDER"


def folder_for_all(config) -> None:
    """Makes the folder for a run of pytest, and has it removed at its end; for `pytest_configure`."""
    if FOLDER not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="glow_tf_tests_")
        os.environ[FOLDER] = folder.name
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(lambda: os.environ.pop(FOLDER))


def shared(name: str, write: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The directory `name`/1 of that folder: the first process that asks for it writes it, and nobody changes it."""
    path = pathlib.Path(os.environ[FOLDER]) / name / "1"
    path.parent.mkdir(exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        if not path.exists():
            write(path)
    return path


@functools.cache
def flow(name: str) -> glow_tf.Flow:
    """A flow of CONFIGS; nobody changes it."""
    made = moved_flow(CONFIGS[name])
    for path, variable in made.named_variables().items():
        if path.endswith("label/kernel"):
            # Of one class or another, bits/dim of two decimals differ.
            variable.assign(4 * variable)
    return made


def directions(name: str) -> Directions | None:
    """Random directions of a model that has attributes, the third one the shortest and the first one the longest."""
    names = ATTRIBUTES.get(name)
    if names is None:
        return None
    lengths = np.array([4.0, 2.0, 1.0, 3.0])[: len(names), np.newaxis]
    vectors = np.random.default_rng(5).standard_normal([len(names), CONFIGS[name].dimensions])
    vectors *= lengths / np.linalg.norm(vectors, axis=1, keepdims=True)
    counts = np.ones(len(names), int)
    return Directions(names, vectors.astype(np.float32), counts, counts)


@functools.cache
def saved(name: str) -> pathlib.Path:
    """The SavedModel of a flow of CONFIGS, named by its version: 1."""
    # The graphs of an export are hundreds of megabytes.
    with gradients.forgotten():
        return shared(name, lambda path: export_saved_model(flow(name), path, directions(name)))
