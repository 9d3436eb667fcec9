"""Fixtures: SavedModels of small flows, and a running server."""

import pytest

from glow_tf.serving.model import Model
from tests.saved_models import saved
from tests.serving import processes


@pytest.fixture(scope="package")
def saved_models():
    """Maps each model's name to the directory of its versions, which holds version 1; both models have attributes."""
    return {name: saved(name).parent for name in ("glow", "conditional")}


@pytest.fixture(scope="package")
def model(saved_models):
    return Model(saved_models["glow"])


@pytest.fixture(scope="package")
def conditional(saved_models):
    return Model(saved_models["conditional"], "conditional")


@pytest.fixture(scope="package")
def running(saved_models):
    """`glow serve` with the model `glow`: the process, its port, and its first line of output."""
    flags = (
        *("--max_batch_size=8", "--max_request_mb=0.05", "--max_images=500"),
        *("--allowed_hosts=proxy.example", "--cors_origin=https://page.example"),
    )
    with processes.server(saved_models["glow"], *flags) as found:
        yield found
