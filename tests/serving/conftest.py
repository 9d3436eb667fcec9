"""SavedModels of small flows, written once."""

import numpy as np
import pytest
import tensorflow as tf

import glow_tf
from glow_tf.export.saved_model import export_saved_model
from glow_tf.latent.attributes import Directions
from glow_tf.serving.model import Model
from tests.models.flows import moved_flow
from tests.serving import processes

CONFIGS = {
    "glow": glow_tf.glow((8, 8, 3), K=2, L=2, width=4, n_bits=5),
    "conditional": glow_tf.glow((8, 8, 3), K=1, L=1, width=4, num_classes=3),
}


@pytest.fixture(scope="package", autouse=True)
def graphs_as_they_are():
    """No graph is made faster, which takes longer than running it once; a server in its own process does it."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})


@pytest.fixture(scope="package")
def saved_models(tmp_path_factory):
    """For each of CONFIGS, by name, the folder of its versions, which holds version 1; glow's has two attributes."""
    root = tmp_path_factory.mktemp("models")
    vectors = np.random.default_rng(0).normal(size=[2, 192]).astype(np.float32)
    directions = {"glow": Directions(("smile", "größe"), vectors, np.array([5, 5]), np.array([5, 5]))}
    for name, config in CONFIGS.items():
        export_saved_model(moved_flow(config), root / name / "1", directions.get(name))
    return {name: root / name for name in CONFIGS}


@pytest.fixture(scope="package")
def model(saved_models):
    return Model(saved_models["glow"])


@pytest.fixture(scope="package")
def conditional(saved_models):
    return Model(saved_models["conditional"], "conditional")


@pytest.fixture(scope="package")
def running(saved_models):
    """`python -m tools.serve` with the model `glow`: the process, its port, its first line."""
    with processes.server(saved_models["glow"], "--max_batch_size=8", "--max_request_mb=0.05") as found:
        yield found
