"""SavedModels of small flows, each written once and shared by all test processes."""

import functools
import os
import pathlib
import tempfile
from collections.abc import Callable

import filelock
import numpy as np

import glow_tf
from glow_tf import dequantization, layers, networks, partitions, transforms
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
    "real": glow_tf.glow((8, 4, 1), K=1, L=1, width=4, dequantizer=dequantization.Continuous()),
    "flow_plus_plus": glow_tf.flow_plus_plus(
        (4, 4, 3),
        ((0, 1),),
        width=4,
        blocks=1,
        heads=2,
        coupling=transforms.MixtureLogistic(components=2),
        num_classes=3,
        conditional_couplings=True,
        dequantizer=dequantization.Variational(
            network=networks.GatedAttention(width=4, blocks=1, heads=0, image_channels=4),
            depth=1,
            coupling=transforms.MixtureLogistic(components=2),
            partition=partitions.Positions(),
            features=networks.GatedConvolutions(blocks=1),
            feature_channels=4,
        ),
    ),
    "jet": glow_tf.jet((4, 4, 1), K=2, width=4, blocks=1, heads=2, patch_size=2, num_classes=3, classifier=True),
    "spline": glow_tf.ModelConfig(
        name="own",
        image_shape=(6,),
        layers=(
            layers.Steps(
                depth=2,
                network=networks.Mlp(width=4, blocks=1),
                coupling=transforms.RationalQuadraticSpline(bins=3),
                permutation="reverse",
            ),
        ),
    ),
}
# Attribute names of the two models that have attributes.
ATTRIBUTES = {
    "glow": ("Smiling", "Wearing_Hat", "dark", "größe"),
    "conditional": ("Smiling", "Wearing_Hat", "dark"),
}


def examples(config: glow_tf.ModelConfig, n: int) -> np.ndarray:
    """Random data for a flow, [n, ...]: uint8, or float32 for a flow of real numbers."""
    rng = np.random.default_rng(0)
    if config.n_bits is None:
        return rng.uniform(-0.9, 0.9, [n, *config.image_shape]).astype(np.float32)
    return rng.integers(0, 256, [n, *config.image_shape], np.uint8)


# Environment variable with the path of the folder that all processes share; set before they start.
FOLDER = "GLOW_TF_TEST_FOLDER"


def folder_for_all(config) -> None:
    """Creates the shared folder of a pytest run, to be removed at its end; for use in `pytest_configure`."""
    if FOLDER not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="glow_tf_tests_")
        os.environ[FOLDER] = folder.name
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(lambda: os.environ.pop(FOLDER))


def shared(name: str, write: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The directory `name`/1 in the shared folder, which the first process to ask for it writes, and nobody changes."""
    path = pathlib.Path(os.environ[FOLDER]) / name / "1"
    path.parent.mkdir(exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        if not path.exists():
            write(path)
    return path


@functools.cache
def flow(name: str) -> glow_tf.Flow:
    """The flow of a config in CONFIGS; must not be changed."""
    made = moved_flow(CONFIGS[name])
    for path, variable in made.named_variables().items():
        if path.endswith("label/kernel"):
            # So that bits/dim of different classes differ at two decimals.
            variable.assign(4 * variable)
    return made


def directions(name: str) -> Directions | None:
    """Random directions, the first the longest and the third the shortest, or None for a model without attributes."""
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
    """The directory of the SavedModel of a flow in CONFIGS, named by its version, 1."""
    # The graphs of an export take hundreds of megabytes.
    with gradients.forgotten():
        return shared(name, lambda path: export_saved_model(flow(name), path, directions(name)))
